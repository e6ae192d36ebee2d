"""Which label most votes are for."""

from __future__ import annotations

from collections import Counter


def majority(votes: Counter[str]) -> str | None:
    """The label with the most votes; None for a tie, which a person has to settle, and for no vote at all."""
    ranked = votes.most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]
