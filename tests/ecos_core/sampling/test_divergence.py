"""KL reduction: against the definition, and its order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from ecos_core.errors import InputError
from ecos_core.sampling.divergence import LAKE_PART, kl_reduction


def test_it_is_the_difference_of_two_divergences() -> None:
    client, lake, picked = np.array([30, 10, 0, 5]), np.array([10, 50, 30, 10]), np.array([6, 2, 0, 2])
    selection = (1 - LAKE_PART) * picked / 10 + LAKE_PART * lake / 100
    expected = entropy(client, lake) - float(np.sum(client[client > 0] / 45 * np.log(
        client[client > 0] / 45 / selection[client > 0])))  # fmt: skip
    assert kl_reduction(client, lake, picked) == pytest.approx(expected)


def test_the_lake_itself_gains_nothing_and_the_client_s_shares_most() -> None:
    client, lake = np.array([70, 20, 10]), np.array([10, 30, 60])
    nothing = kl_reduction(client, lake, lake)
    assert nothing == pytest.approx(0.0, abs=1e-12)
    best, some = kl_reduction(client, lake, client), kl_reduction(client, lake, client + lake)
    assert best is not None and some is not None and best > some > 0
    assert kl_reduction(client, lake, [0, 0, 100]) < 0


def test_without_an_answer_or_a_pick_there_is_no_figure() -> None:
    assert kl_reduction([0, 0], [5, 5], [1, 1]) is None
    assert kl_reduction([1, 0], [5, 5], [0, 0]) is None
    with pytest.raises(InputError, match="2 clusters, 3 counts"):
        kl_reduction([1, 0], [5, 5], [0, 0, 1])
