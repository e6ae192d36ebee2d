from benchmarks.handoff import run


def test_the_quick_run_hands_out_and_takes_back_everything():
    rows = {row["name"]: row for row in run(quick=True)}
    assert set(rows) == {"hand-off export", "hand-off import"}
    assert all(row["same"] and row["images"] == 200 and row["ratio"] > 0 for row in rows.values())
