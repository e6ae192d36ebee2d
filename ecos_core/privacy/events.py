"""What happened, kept apart from what it cost: frozen events that any accountant can price, now or in ten
years.

The meaning of existing parameters must not change: ledgers keep these events for years and re-account
them. A new mechanism gets a new class or a new field with a default that means "as before", and a new
schema version.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from ecos_core.errors import InputError

EVENT_SCHEMA_VERSION = 1
MIN_SIGMA = 0.05
MAX_SIGMA = 1e5
MAX_SENSITIVITY = 1e4
MAX_COUNT = 10**7
# Up to a squared sensitivity of 3 no cell changes by more than 1.
ONE_EACH = 3


class Adjacency(StrEnum):
    """Which two data sets must be hard to tell apart."""

    ADD_REMOVE = "add-remove"
    REPLACE = "replace"
    UNIT = "unit"


# L2 sensitivity of a histogram to which every record (or unit) gives one vote.
HISTOGRAM_SENSITIVITY: dict[Adjacency, float] = {
    Adjacency.ADD_REMOVE: 1.0,
    Adjacency.REPLACE: math.sqrt(2.0),
    Adjacency.UNIT: 1.0,
}


@dataclass(frozen=True, order=True)
class GaussianEvent:
    """``count`` releases of an integer query plus independent discrete Gaussian noise on every coordinate.

    Attributes:
        sigma: parameter of the discrete Gaussian, P(x) proportional to exp(-x^2 / (2 sigma^2)) on the
            integers.
        sensitivity: L2 sensitivity of the query under ``adjacency``; its square is a whole number, since
            the query is a vector of integers. Under ``replace`` with an even square, the leaving and the
            coming record touch disjoint cells, each with half of the square (a histogram: one vote leaves
            a cell, one enters another). Above sqrt(3) sigma must be at least 1.
        adjacency: add or remove one record, replace one record, add or remove one unit.
        gamma: rate of the Poisson subsampling before the query, in (0, 1]; every release draws its own
            subsample.
        count: how many such releases, each with noise of its own.

    Raises InputError when a value is out of range.
    """

    sigma: float
    sensitivity: float
    adjacency: Adjacency
    gamma: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        # Normal types, so that equal events are equal bytes in a ledger.
        object.__setattr__(self, "sigma", float(self.sigma))
        object.__setattr__(self, "sensitivity", float(self.sensitivity))
        object.__setattr__(self, "gamma", float(self.gamma))
        try:
            object.__setattr__(self, "adjacency", Adjacency(self.adjacency))
        except ValueError as error:
            raise InputError(
                f"adjacency '{self.adjacency}' is unknown: use one of {', '.join(Adjacency)}"
            ) from error
        if not MIN_SIGMA <= self.sigma <= MAX_SIGMA:
            raise InputError(f"sigma must be between {MIN_SIGMA:g} and {MAX_SIGMA:g}, got {self.sigma:g}")
        if not 0.0 < self.gamma <= 1.0:
            raise InputError(f"gamma, the sampling rate, must be in (0, 1], got {self.gamma:g}")
        if (
            isinstance(self.count, bool)
            or not isinstance(self.count, int)
            or not 1 <= self.count <= MAX_COUNT
        ):
            raise InputError(f"count must be a whole number from 1 to {MAX_COUNT:,}, got {self.count!r}")
        if not 1.0 <= self.sensitivity <= MAX_SENSITIVITY:
            raise InputError(
                f"sensitivity must be between 1 and {MAX_SENSITIVITY:g} (the query is a vector of integers), "
                f"got {self.sensitivity:g}"
            )
        square = self.sensitivity**2
        if abs(square - round(square)) > 1e-12 * square:
            raise InputError(
                f"sensitivity {self.sensitivity!r}: its square must be a whole number, since the query is "
                "a vector of integers; scale the query or round the sensitivity up"
            )
        if self.squared_sensitivity > ONE_EACH and self.sigma < 1.0:
            raise InputError(
                f"sigma must be at least 1 for sensitivity {self.sensitivity:g}, got {self.sigma:g}"
            )

    @property
    def squared_sensitivity(self) -> int:
        """The whole number that ``sensitivity`` is the root of."""
        return round(self.sensitivity**2)

    @property
    def sides(self) -> tuple[int, int]:
        """Squared change by one record, and how many records make it: two, on disjoint cells, where one
        leaves and another comes."""
        square = self.squared_sensitivity
        return (square // 2, 2) if self.adjacency is Adjacency.REPLACE and square % 2 == 0 else (square, 1)

    @property
    def single(self) -> GaussianEvent:
        """One such release."""
        return self.times(1)

    def times(self, count: int) -> GaussianEvent:
        """``count`` such releases."""
        return self if count == self.count else replace(self, count=count)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``from_dict`` reads them back exactly."""
        return {"schema": EVENT_SCHEMA_VERSION, "mechanism": "discrete-gaussian", **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GaussianEvent:
        """Read what ``to_dict`` wrote. An event that nobody can account for is an error, never a guess."""
        try:
            return _read_event(tuple(values.items()))
        except TypeError as error:
            raise InputError(f"privacy event has the wrong fields: {sorted(values)}") from error


@lru_cache(maxsize=1024)
def _read_event(items: tuple[tuple[str, Any], ...]) -> GaussianEvent:
    """Ledgers repeat the same few events thousands of times."""
    fields = dict(items)
    schema, mechanism = fields.pop("schema", None), fields.pop("mechanism", None)
    if schema != EVENT_SCHEMA_VERSION or mechanism != "discrete-gaussian":
        raise InputError(
            f"privacy event of mechanism {mechanism!r}, schema {schema!r} is unknown: upgrade ecos"
        )
    return GaussianEvent(**fields)


def histogram_event(
    sigma: float, adjacency: Adjacency = Adjacency.ADD_REMOVE, gamma: float = 1.0, count: int = 1
) -> GaussianEvent:
    """``count`` releases of a histogram with one vote a record (or unit)."""
    adjacency = Adjacency(adjacency)
    return GaussianEvent(sigma, HISTOGRAM_SENSITIVITY[adjacency], adjacency, gamma, count)


def knn_events(
    screening_sigma: float, argmax_sigma: float, *, adjacency: Adjacency, gamma: float, queries: int
) -> list[GaussianEvent]:
    """Events of ``queries`` private k-nearest-neighbour labels (Zhu et al., CVPR 2020, algorithm 1).

    Adding a record to the subsample swaps at most one of the K neighbours: the largest count moves by at
    most 1 (screening), the vote histogram by sqrt(2) in L2 (argmax). The two steps must draw *separate*
    Poisson subsamples, and both are charged for every query, answered or screened out: the charge must
    not depend on the data.

    Raises InputError for ``replace`` with gamma < 1, for which no bound is implemented.
    """
    adjacency = Adjacency(adjacency)
    if adjacency is Adjacency.REPLACE and gamma < 1.0:
        raise InputError("private kNN under 'replace' needs gamma 1: use add-remove, or do not subsample")
    return [
        GaussianEvent(screening_sigma, 1.0, adjacency, gamma, queries),
        GaussianEvent(argmax_sigma, math.sqrt(2.0), adjacency, gamma, queries),
    ]


def merge_events(events: Iterable[GaussianEvent]) -> tuple[GaussianEvent, ...]:
    """The same multiset of releases with equal ones counted together, in sorted order: a key to cache by."""
    counts: dict[GaussianEvent, int] = {}
    for event in events:
        single = event.single
        counts[single] = counts.get(single, 0) + event.count
    return tuple(sorted(single.times(count) for single, count in counts.items()))


def common_adjacency(events: Sequence[GaussianEvent]) -> Adjacency | None:
    """The adjacency that all events share; None without events. Raises InputError when they differ."""
    found = {event.adjacency for event in events}
    if len(found) > 1:
        raise InputError(
            f"releases under different adjacencies ({', '.join(sorted(found))}) have no common epsilon: "
            "account each by itself"
        )
    return next(iter(found), None)
