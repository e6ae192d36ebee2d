"""What each record contributes to an answer, and the sum of it: the only place where an operation meets the data.

**Statement.** For every operation and every request, the clean sum of two neighbouring data sets differs by at most the
root of ``Sum.squared_bound`` in L2 (add-remove), of twice it (replace), or UNIT_SCALE times it (unit).

**Proof.** (1) A record's facts are functions of its own feature and label and of the request (``kernels``), and its
feature and label of its own files (``records``). (2) Its contribution is computed from its facts alone, as whole
numbers of at least 0, and counts only if the sum of their squares is at most ``squared_bound``: checked here, in
integers, for each record, whatever the operation says or does; one that raises contributes nothing. (3) A record more
adds one such vector. A record replaced takes one away and adds one; both have no negative cell, so the squared norm of
their difference is at most the sum of the two. A unit's vector is shortened to ``UNIT_SCALE`` times the bound's root,
in integers, and checked again. (4) With ``gamma`` each record (unit) has a coin of its own. Integers do not overflow: n
records of weights below 2^16 stay below 2^63 for n below 10^14.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from math import isqrt

import numpy as np
import numpy.typing as npt

from ecos_core.client.kernels.nearest import nearest_centroids, outside
from ecos_core.client.kernels.perceptron import predicted
from ecos_core.client.operations.operation import ABSTAIN, Contribution, Record, Sum
from ecos_core.client.records import PrivateFeatures

UNIT_SCALE = 256

Integers = npt.NDArray[np.int64]
Facts = tuple[int, int, int, int]  # a Record, before it is made one


def clean_sum(held: PrivateFeatures, query: Sum, *, by_unit: bool) -> Integers:
    """The exact sum, int64 [cells]; ``by_unit``: of units' vectors, in steps of 1 / UNIT_SCALE.

    Private: nothing but a noised copy may leave ``client.release``.
    """
    facts = facts_of(held, query)
    vectors = unit_vectors(facts, held.units, query) if by_unit else record_vectors(facts, query)
    total = [0] * query.cells
    for vector, times in vectors:
        for cell, weight in vector.items():
            total[cell] += weight * times
    return np.array(total, np.int64)


def facts_of(held: PrivateFeatures, query: Sum) -> list[Facts]:
    """What the query asks to know of each record, in the order of ``Record``'s fields. Private."""
    nothing = [ABSTAIN] * len(held.features)
    nearest, beyond, label, answer = nothing, [0] * len(nothing), nothing, nothing
    if query.centroids is not None:
        places = np.concatenate([np.empty(0, np.int64), *nearest_centroids(held.features, query.centroids)])
        nearest = places.tolist()
        if query.radii is not None:
            beyond = outside(held.features, query.centroids, query.radii, places).tolist()
    if query.classes:
        label = label_numbers(held.labels, query.classes)
    if query.model is not None:
        answer = predicted(held.features, query.model).tolist()
    return list(zip(nearest, beyond, label, answer, strict=True))


def label_numbers(labels: Sequence[str | None], classes: Sequence[str]) -> list[int]:
    """Each record's place in ``classes``; ABSTAIN for one with another label or none. Private."""
    numbers = {name: number for number, name in enumerate(classes)}
    return [ABSTAIN if label is None else numbers.get(label, ABSTAIN) for label in labels]


def bounded(contribution: Contribution, record: Record, cells: int, squared_bound: int) -> Mapping[int, int]:
    """What one record contributes, if it keeps to whole numbers, its cells and its bound; otherwise nothing."""
    try:
        found = dict(contribution(record))
    except Exception:  # whatever one record does to an operation is that record's affair alone
        return {}
    whole = all(type(number) is int for pair in found.items() for number in pair)
    if not whole or any(not 0 <= cell < cells or weight < 0 for cell, weight in found.items()):
        return {}
    return found if sum(weight * weight for weight in found.values()) <= squared_bound else {}


def record_vectors(facts: Sequence[Facts], query: Sum) -> Iterable[tuple[Mapping[int, int], int]]:
    """Each different contribution of a record, and how many records have it."""
    counted = compress(facts, poisson_mask(len(facts), query.gamma)) if query.gamma < 1 else facts
    for record, times in Counter(counted).items():
        yield bounded(query.contribution, Record._make(record), query.cells, query.squared_bound), times


def unit_vectors(
    facts: Sequence[Facts], units: Integers, query: Sum
) -> Iterable[tuple[Mapping[int, int], int]]:
    """Each different sum of a unit's contributions, shortened to the bound, and how many units have it."""
    known = {
        record: bounded(query.contribution, Record._make(record), query.cells, query.squared_bound)
        for record in set(facts)
    }
    sums: dict[int, dict[int, int]] = {}
    for unit, record in zip(units.tolist(), facts, strict=True):
        vector = sums.setdefault(unit, {})
        for cell, weight in known[record].items():
            vector[cell] = vector.get(cell, 0) + weight
    counted = compress(sums.values(), poisson_mask(len(sums), query.gamma))
    for items, times in Counter(tuple(vector.items()) for vector in counted).items():
        yield shortened(dict(items), query.squared_bound), times


def shortened(vector: Mapping[int, int], squared_bound: int) -> Mapping[int, int]:
    """The vector in steps of 1 / UNIT_SCALE, of squared norm at most UNIT_SCALE^2 x ``squared_bound``: rounded towards
    zero, so never beyond it."""
    square = sum(weight * weight for weight in vector.values())
    most = UNIT_SCALE * UNIT_SCALE * squared_bound
    if square <= squared_bound:
        found = {cell: UNIT_SCALE * weight for cell, weight in vector.items()}
    else:
        found = {cell: isqrt(most * weight * weight // square) for cell, weight in vector.items()}
    return found if sum(weight * weight for weight in found.values()) <= most else {}


def whole_votes(steps: Integers) -> Integers:
    """Counts in steps of 1 / UNIT_SCALE, rounded to whole votes."""
    return np.floor_divide(steps + UNIT_SCALE // 2, UNIT_SCALE)


def poisson_mask(count: int, gamma: float) -> npt.NDArray[np.bool_]:
    """bool [count], each True with probability ``gamma``, independently, by the operating system's randomness.

    64 random bits each are compared with floor(gamma 2^64), so the probability is never above ``gamma`` and at most
    2^-53 of it below.
    """
    if gamma >= 1:
        return np.ones(count, np.bool_)
    draws = np.frombuffer(os.urandom(8 * count), np.uint64)
    return draws < np.uint64(int(gamma * 2**64))
