"""Events keep their meaning: what is written is read back, what is unknown or out of range is refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.privacy.events import (
    HISTOGRAM_SENSITIVITY,
    Adjacency,
    GaussianEvent,
    common_adjacency,
    histogram_event,
    knn_events,
    merge_events,
)

events = st.builds(
    GaussianEvent,
    sigma=st.floats(1.0, 1e5),
    sensitivity=st.integers(1, 10_000).map(math.sqrt),
    adjacency=st.sampled_from(Adjacency),
    gamma=st.floats(1e-6, 1.0),
    count=st.integers(1, 10**7),
)


@given(event=events)
def test_an_event_survives_json_exactly(event: GaussianEvent) -> None:
    assert GaussianEvent.from_dict(json.loads(json.dumps(event.to_dict()))) == event


def test_the_stored_form_never_changes() -> None:
    """What ledgers hold: a change here needs a new schema version and a reader for this one."""
    stored = (
        '{"schema": 1, "mechanism": "discrete-gaussian", "sigma": 5.0, "sensitivity": 1.4142135623730951, '
        '"adjacency": "replace", "gamma": 0.8, "count": 3}'
    )
    event = GaussianEvent(5.0, math.sqrt(2), Adjacency.REPLACE, 0.8, 3)
    assert json.dumps(event.to_dict()) == stored
    assert GaussianEvent.from_dict(json.loads(stored)) == event


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"mechanism": "laplace"}, {"colour": "red"}, {"adjacency": "nobody"}, {"sigma": 0}],
)
def test_an_event_nobody_can_account_for_is_an_error(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        GaussianEvent.from_dict({**histogram_event(5).to_dict(), **change})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sigma", 0.0),
        ("sigma", -1.0),
        ("sigma", math.nan),
        ("sigma", math.inf),
        ("gamma", 0.0),
        ("gamma", 1.1),
        ("gamma", math.nan),
        ("count", 0),
        ("count", 1.5),
        ("count", True),
        ("sensitivity", 0.5),
        ("sensitivity", 1.5),
        ("sensitivity", math.inf),
        ("sensitivity", math.nan),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    values: dict[str, object] = {"sigma": 5.0, "sensitivity": 1.0, "adjacency": "add-remove", field: value}
    with pytest.raises(InputError, match=field):
        GaussianEvent(**values)  # type: ignore[arg-type]


def test_little_noise_on_a_large_change_is_refused() -> None:
    with pytest.raises(InputError, match="sigma must be at least 1"):
        GaussianEvent(0.5, 2.0, Adjacency.ADD_REMOVE)


def test_sensitivity_of_a_histogram() -> None:
    assert {"add-remove": 1.0, "replace": math.sqrt(2), "unit": 1.0} == HISTOGRAM_SENSITIVITY
    assert histogram_event(5, Adjacency.REPLACE).squared_sensitivity == 2


def test_private_knn_charges_both_steps_of_every_query() -> None:
    screening, argmax = knn_events(85, 35, adjacency=Adjacency.ADD_REMOVE, gamma=0.15, queries=800)
    assert (screening.squared_sensitivity, argmax.squared_sensitivity) == (1, 2)
    assert screening.count == argmax.count == 800
    with pytest.raises(InputError, match="kNN"):
        knn_events(85, 35, adjacency=Adjacency.REPLACE, gamma=0.15, queries=800)


def test_merging_counts_equal_events() -> None:
    five, six = histogram_event(5), histogram_event(6, count=2)
    assert merge_events([six, five, six, five, five]) == (
        histogram_event(5, count=3),
        histogram_event(6, count=4),
    )
    assert common_adjacency([]) is None
