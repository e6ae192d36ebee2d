"""The peers of the k-center benchmark are right: they give the naive search's picks, and so do we."""

from __future__ import annotations

from benchmarks.k_center import run


def test_all_pick_the_same() -> None:
    rows = run(rows=800, dim=16, picks=40, clusters=8)
    assert {row["peer"] for row in rows} >= {"matrix-vector form", "scikit-learn pairwise"}
    assert all(row["same"] for row in rows)
    assert all(row.get("peer_same", True) for row in rows)
