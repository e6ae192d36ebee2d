from benchmarks.lake import run


def test_the_quick_run_does_the_same_work_as_its_peers():
    rows = {row["name"]: row for row in run(quick=True)}
    assert set(rows) == {"ingest", "ingest again", "near-duplicate pairs"}
    assert all(row["same"] and row["ratio"] > 0 for row in rows.values())
    assert rows["ingest"]["shards"] >= 5
