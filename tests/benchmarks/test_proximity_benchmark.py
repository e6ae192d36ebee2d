"""The correlation of nearness with accuracy, on made-up points."""

from __future__ import annotations

import pytest

from benchmarks.proximity import summarise


def test_correlation_is_within_a_split_and_averaged_over_splits() -> None:
    def points(client: str, figures: list[tuple[float, float]]) -> list[dict[str, object]]:
        names = {"pool": "id+ood", "client": client, "seed": 1, "budget": 100}
        return [{**names, "sampler": str(i), "kl": kl, "accuracy": a} for i, (kl, a) in enumerate(figures)]

    # each split agrees in itself; pooled, the second's lower accuracies would hide it
    agree = points("a", [(0.1, 0.8), (0.5, 0.85), (0.9, 0.9)]) + points(
        "b", [(1.1, 0.1), (1.5, 0.2), (1.9, 0.3)]
    )
    (row,) = summarise(agree)
    assert row["correlation"] == pytest.approx(1.0) and row["splits"] == 2
    (mixed,) = summarise(agree[:3] + points("b", [(1.1, 0.3), (1.5, 0.2), (1.9, 0.1)]))
    assert mixed["correlation"] == pytest.approx(0.0, abs=1e-9)
    assert mixed["low"] < 0 < mixed["high"]
