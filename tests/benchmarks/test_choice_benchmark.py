"""The peers of the choice's benchmark serve the rows as well as ours, which is the exact greedy choice there."""

from __future__ import annotations

import pytest

from benchmarks.choice import run


def test_the_exact_peers_reach_the_same() -> None:
    rows = run(quick=True, dim=16, centres=12)
    exact = [row for row in rows if "lazy greedy" in row["peer"]]
    assert {row["peer"].split(",")[0] for row in exact} == {"submodlib", "apricot"}
    for row in exact:
        assert row["objective"] == pytest.approx(row["peer_objective"], rel=1e-4)
    assert all(row["same"] for row in rows)
