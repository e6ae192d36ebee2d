"""How far released labels agree with their surroundings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.labelling.confidence import neighbour_confidence


def test_a_label_among_its_own_kind_is_believed_and_a_stranger_is_not() -> None:
    features = np.repeat([[0.0, 0.0], [9.0, 9.0]], 20, axis=0) + np.random.default_rng(0).normal(
        size=(40, 2), scale=0.1
    )
    labels = ["cat"] * 20 + ["dog"] * 19 + ["cat"]
    found = neighbour_confidence(features, labels, classes=2)
    assert found[:20] == pytest.approx(11 / 12)
    assert found[-1] == pytest.approx(1 / 12)


def test_alone_it_is_worth_a_guess() -> None:
    assert neighbour_confidence(np.zeros((1, 3)), ["cat"], classes=4).tolist() == [0.25]


@given(st.integers(2, 60), st.integers(2, 9), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_it_is_what_a_plain_search_finds(count: int, classes: int, neighbours: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.permutation(np.arange(count) ** 2).astype(np.float32)[:, None]
    labels = [str(number) for number in rng.integers(0, classes, count)]
    k = min(neighbours, count - 1)
    expected = []
    for row in range(count):
        others = sorted((abs(float(features[i, 0] - features[row, 0])), i) for i in range(count) if i != row)
        if len({d for d, _ in others[: k + 1]}) < min(k + 1, len(others)):
            return  # a tie at the border: either neighbour is right
        same = sum(labels[i] == labels[row] for _, i in others[:k])
        expected.append((same + 1) / (k + classes))
    assert neighbour_confidence(features, labels, classes, neighbours) == pytest.approx(expected)
