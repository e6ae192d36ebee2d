from benchmarks.float16 import run


def test_half_the_bytes_change_next_to_nothing():
    rows = {row["name"].split(",")[0]: row for row in run(quick=True)}
    assert set(rows) == {"assigned alike", "inertia", "picked alike", "probe accuracy"}
    assert rows["assigned alike"]["ratio"] > 0.98 and 0.98 < rows["inertia"]["ratio"] < 1.02
    assert 0 < rows["picked alike"]["ratio"] <= 1
    assert rows["probe accuracy"]["float32"] > 80 and abs(rows["probe accuracy"]["points"]) < 2
