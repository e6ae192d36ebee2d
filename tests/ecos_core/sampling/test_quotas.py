"""Webster's method: sums, caps, house monotony, agreement with a seat-by-seat implementation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.sampling.quotas import allocate, seat_order

CASES = st.integers(1, 12).flatmap(
    lambda r: st.tuples(
        st.lists(st.integers(0, 40), min_size=r, max_size=r),
        st.lists(st.integers(0, 15), min_size=r, max_size=r),
        st.lists(st.integers(0, 6), min_size=r, max_size=r),
        st.integers(0, 120),
    )
)


def seat_by_seat(weights: list[int], caps: list[int], taken: list[int], budget: int) -> list[int]:
    """The divisor method as it is defined, in exact fractions."""
    held = list(taken)
    seats: list[int] = []
    for _ in range(budget):
        free = [r for r in range(len(weights)) if held[r] < caps[r]]
        if not free:
            break
        positive = [r for r in free if weights[r] > 0]
        shares = weights if positive else caps
        chosen = max(positive or free, key=lambda r: (Fraction(shares[r], 2 * held[r] + 1), -r))
        held[chosen] += 1
        seats.append(chosen)
    return seats


@settings(max_examples=300, deadline=None)
@given(CASES)
def test_seats_are_those_of_the_definition(case: tuple[list[int], list[int], list[int], int]) -> None:
    weights, caps, taken, budget = case
    # Exact ties may be decided by rounding: the first difference must be one.
    expected = seat_by_seat(weights, caps, taken, budget)
    found = seat_order(np.array(weights), np.array(caps), budget, taken=np.array(taken))
    assert len(found) == len(expected)
    held = np.array(taken)
    for mine, theirs in zip(found.tolist(), expected, strict=True):
        if mine != theirs:
            shares = weights if weights[mine] > 0 else caps
            assert Fraction(shares[mine], int(2 * held[mine] + 1)) == Fraction(
                shares[theirs], int(2 * held[theirs] + 1)
            )
            return
        held[mine] += 1


@settings(max_examples=200, deadline=None)
@given(CASES)
def test_sums_caps_and_house_monotony(case: tuple[list[int], list[int], list[int], int]) -> None:
    weights, caps, _, budget = (np.array(part) for part in case)
    seats = allocate(weights, caps, int(budget))
    assert seats.sum() == min(budget, caps.sum())
    assert (seats <= caps).all()
    order = seat_order(weights, caps, int(budget))
    for smaller in range(0, int(budget) + 1, 7):
        assert seat_order(weights, caps, smaller).tolist() == order[:smaller].tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=50), st.integers(1, 5000), st.floats(1e-9, 1e9))
def test_uncapped_seats_are_proportional_and_scale_free(
    weights: list[float], budget: int, scale: float
) -> None:
    shares = np.array(weights)
    seats = allocate(shares, np.full(len(shares), budget), budget)
    # Webster: no transfer of a seat brings two clusters nearer to their shares (Balinski and Young).
    assert ((2 * seats - 1) / shares).max() <= ((2 * seats + 1) / shares).min() * (1 + 1e-9)
    assert np.abs(allocate(shares * scale, np.full(len(shares), budget), budget) - seats).sum() <= 2


def test_zero_weight_gets_seats_only_once_the_others_are_full() -> None:
    weights, caps = np.array([0.0, 3.0, 1.0, 0.0]), np.array([4, 2, 2, 8])
    assert allocate(weights, caps, 4).tolist() == [0, 2, 2, 0]
    assert allocate(weights, caps, 7).tolist() == [1, 2, 2, 2]
    assert allocate(np.zeros(4), caps, 8).tolist() == [2, 1, 1, 4]


@pytest.mark.parametrize(
    ("weights", "caps", "budget", "words"),
    [
        ([1.0, -1.0], [1, 1], 1, "not negative"),
        ([1.0, np.nan], [1, 1], 1, "finite"),
        ([1.0], [1, 1], 1, "one each"),
        ([1.0], [1], -1, "must not be negative"),
        ([1.0], [-1], 1, "must not be negative"),
    ],
)
def test_bad_arguments_are_refused(weights: list[float], caps: list[int], budget: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        allocate(np.array(weights), np.array(caps), budget)


def test_weights_of_very_different_size_keep_their_order() -> None:
    order = seat_order(np.array([1e-300, 1e300, 1.0]), np.array([2, 2, 2]), 6)
    assert order[:2].tolist() == [1, 1]
    assert sorted(order.tolist()) == [0, 0, 1, 1, 2, 2]
