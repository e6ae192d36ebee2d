from benchmarks.lake import run


def test_the_quick_run_does_the_same_work_as_its_peers():
    rows = {row["name"]: row for row in run(quick=True)}
    small = next(row for name, row in rows.items() if name.endswith(" shards"))
    assert set(rows) == {"ingest", "ingest again", small["name"], "near-duplicate pairs"}
    assert all(row["same"] for row in rows.values())
    assert small["images"] == 120 and int(small["name"].split()[0]) >= 5
