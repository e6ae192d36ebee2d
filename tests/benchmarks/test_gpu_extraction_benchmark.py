import pytest

from benchmarks.gpu_extraction import run

torch = pytest.importorskip("torch")


def test_without_a_gpu_it_runs_small_says_so_and_judges_nothing():
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    rows = run()
    assert [row["name"].split(",")[0] for row in rows] == ["forward"] * 3 + ["decode", "end to end"]
    assert all(row["device"] == "no GPU: small, on the CPU" and row["images_s"] > 0 for row in rows)
    assert all("ok" not in row for row in rows)
