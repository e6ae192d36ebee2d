"""Greedy facility location: the samples that together lie nearest to all members of a cluster.

k-center minimises the largest distance and so reaches for outliers first; this minimises the mean squared
distance, so a small budget goes to what is typical. Each pick lowers the sum over members of the squared
distance to the nearest pick the most; the gains are submodular, so greedy is within 1 - 1/e of the best
(Nemhauser, Wolsey and Fisher 1978) and an old gain is an upper bound (lazy evaluation, Minoux 1978).

Up to ``EXACT_ROWS`` members every pick is the exact greedy one. A larger cluster is cut by k-means into cells of about
``CELL_ROWS``. Its first picks, one for every ``CELLS_A_HEAD`` cells, are greedy on an even sample; from then on a
cell's members are served by picks of the cell, each cell is searched by itself, and the cells' picks are merged by
their gains. That is the greedy choice but for members near the border of two cells. Nothing depends on how many picks
are asked for, so the first b of k are the picks for b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.sampling.k_center import Picks, greedy_k_center

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

EXACT_ROWS = 6144  # their table of distances is 144 MiB
CELL_ROWS = 512
CELLS_A_HEAD = 4
ROWS_A_CELL = 64  # of the sample that the cells and the first picks are found on
LEAST_SAMPLE = 1024
CELL_PASSES = 8
NOTHING = 1e-6  # a gain of this share of the members' squared distances is none
_FIRST_BATCH = 16
_BLOCK = 256


@dataclass(frozen=True)
class _Order:
    """Rows int64 [k] in the order picked, and what each gained, float64 [k]: squared distance, over all members."""

    rows: Integers
    gains: Doubles

    def first(self, k: int) -> _Order:
        return _Order(self.rows[:k], self.gains[:k])


def greedy_facility_location(
    features: npt.NDArray[Any],
    k: int,
    *,
    covered: npt.NDArray[Any] | None = None,
    typical: int | None = None,
) -> Picks:
    """``k`` rows of ``features`` [n, d] in the order picked; ``covered`` rows [m] count as picked before.
    ``typical``: once so many are picked, those before counted in, the rest is picked farthest first.

    ``radii`` are the picks' L2 distances to the nearest pick before them, as in k-center. When nothing is
    left to gain the rest is picked farthest first. The first b picks of k are the picks for b. Raises
    InputError as ``greedy_k_center`` does.
    """
    before = np.unique(np.asarray([] if covered is None else covered, dtype=np.int64))
    rows = np.asarray(features, dtype=np.float32)
    if len(rows):
        rows = rows - rows.mean(axis=0, dtype=np.float64).astype(
            np.float32
        )  # float32 keeps small distances so
    chosen = np.zeros(0, dtype=np.int64)
    by_gain = k if typical is None else min(k, max(typical - len(before), 0))
    if by_gain > 0 and len(before) < len(rows):
        left = _nearest(rows, rows[before])[1] if len(before) else None
        free = np.ones(len(rows), dtype=bool)
        free[before] = False
        chosen = _greedy(rows, left, free, by_gain).rows[:by_gain]
    rest = k - len(chosen)
    if rest == 0:
        return Picks(chosen, _radii(rows, chosen, before))
    tail = greedy_k_center(features, rest, covered=np.concatenate([before, chosen]))
    return Picks(
        np.concatenate([chosen, tail.indices]), np.concatenate([_radii(rows, chosen, before), tail.radii])
    )


def _greedy(rows: Floats, left: Floats | None, free: npt.NDArray[np.bool_], k: int) -> _Order:
    """At least ``k`` picks among the ``free`` rows, or all that gain anything. ``left`` float32 [n]: each member's
    squared distance to the nearest pick before; None: there is none."""
    if len(rows) <= EXACT_ROWS:
        return _exact(rows, left, free, k)
    cells = math.ceil(len(rows) / CELL_ROWS)
    sample = np.linspace(0, len(rows) - 1, max(ROWS_A_CELL * cells, LEAST_SAMPLE)).astype(np.int64)
    seeds = _greedy(rows[sample], None if left is None else left[sample], free[sample], cells).first(cells)
    heads = _Order(sample[seeds.rows], seeds.gains * (len(rows) / len(sample))).first(
        math.ceil(cells / CELLS_A_HEAD)
    )
    if k <= len(heads.rows):
        return heads
    left_then = _nearest(rows, rows[heads.rows])[1]
    left_then = left_then if left is None else np.minimum(left, left_then)
    free = free.copy()
    free[heads.rows] = False
    parts = _cells(rows, sample, rows[sample[seeds.rows]])
    merged = _merge(rows, left_then, free, parts, k - len(heads.rows))
    return _Order(np.concatenate([heads.rows, merged.rows]), np.concatenate([heads.gains, merged.gains]))


def _merge(rows: Floats, left: Floats, free: npt.NDArray[np.bool_], parts: list[Integers], k: int) -> _Order:
    """The picks of all cells in the order of their gains: at least the first ``k``.

    A cell is searched for more as soon as all its known picks are among the first ``k``.
    """
    wanted = [max(8, math.ceil(2 * k * len(part) / len(rows))) for part in parts]
    found: dict[int, _Order] = {}
    while True:
        for cell, part in enumerate(parts):
            if cell not in found:
                order = _greedy(rows[part], left[part], free[part], wanted[cell]).first(wanted[cell])
                found[cell] = _Order(part[order.rows], np.minimum.accumulate(order.gains))
        cells = np.repeat(np.arange(len(parts)), [len(found[cell].rows) for cell in range(len(parts))])
        gains = np.concatenate([found[cell].gains for cell in range(len(parts))])
        by_gain = np.argsort(-gains, kind="stable")
        used = np.bincount(cells[by_gain[:k]], minlength=len(parts))
        short = [cell for cell, order in found.items() if used[cell] == len(order.rows) == wanted[cell]]
        if not short:
            members = np.concatenate([found[cell].rows for cell in range(len(parts))])
            return _Order(members[by_gain], gains[by_gain])
        for cell in short:
            wanted[cell] *= 2
            del found[cell]


def _exact(rows: Floats, left: Floats | None, free: npt.NDArray[np.bool_], k: int) -> _Order:
    """``_greedy`` with every member as reference and candidate, by lazy evaluation.

    ``near[c, i] = 2 x_c . x_i - |x_c|^2`` is |x_i|^2 less the squared distance: a pick of c raises each member's
    largest ``near`` by what it lowers its distance to the nearest pick.
    """
    squares = np.einsum("nd,nd->n", rows, rows)
    candidates, members = _with_columns(2.0 * rows, -squares), _with_columns(rows, 1.0)
    chosen: list[int] = []
    gained: list[float] = []
    if left is None:
        # The sum of squared distances to a row is least for the row nearest the mean; any gain would be relative.
        from_mean = ((rows - rows.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=1)
        chosen.append(int(np.argmin(np.where(free, from_mean, np.inf))))
        gained.append(math.inf)
        best = members @ candidates[chosen[0]]
    else:
        best = squares - left
    near = np.empty((len(rows), len(rows)), dtype=np.float32)
    gains = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = near[start : start + _BLOCK]
        np.matmul(candidates[start : start + _BLOCK], members.T, out=block)
        gains[start : start + _BLOCK] = np.maximum(block, best).sum(axis=1)
    total = float(best.sum(dtype=np.float64))
    gains -= total
    gains[~free] = gains[chosen] = -np.inf
    least = NOTHING * float((squares - best).sum(dtype=np.float64))
    while len(chosen) < min(k, int(free.sum())):
        pick = _largest(near, best, total, gains)
        if gains[pick] <= least:
            break
        chosen.append(pick)
        gained.append(float(gains[pick]))
        best, gains[pick] = np.maximum(best, near[pick]), -np.inf
        total = float(best.sum(dtype=np.float64))
    return _Order(np.array(chosen, dtype=np.int64), np.array(gained))


def _largest(near: Floats, best: Floats, total: float, gains: Doubles) -> int:
    """The row of the largest gain, the lowest of equals; the bounds that could hide a larger one are brought up to
    date."""
    fresh = np.zeros(len(gains), dtype=bool)
    largest, batch = -math.inf, _FIRST_BATCH
    while len(waiting := np.flatnonzero((gains >= largest) & ~fresh & (gains > -math.inf))):
        if len(waiting) > batch:
            waiting = waiting[np.argpartition(-gains[waiting], batch - 1)[:batch]]
        for start in range(0, len(waiting), _BLOCK):
            part = waiting[start : start + _BLOCK]
            raised = near[part]
            gains[part] = np.maximum(raised, best, out=raised).sum(axis=1) - total
        fresh[waiting] = True
        largest, batch = float(gains[fresh].max()), 2 * batch
    return int(np.argmax(np.where(fresh, gains, -math.inf)))


def _cells(rows: Floats, sample: Integers, seeds: Floats) -> list[Integers]:
    """The members of each cell: k-means of the ``sample`` from ``seeds`` [c, d], then every row to its nearest."""
    points, centres = rows[sample], seeds.astype(np.float32)
    for _ in range(CELL_PASSES):
        owner = _nearest(points, centres)[0]
        order, counts = np.argsort(owner, kind="stable"), np.bincount(owner, minlength=len(centres))
        held = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[held]
        centres[held] = np.add.reduceat(points[order], starts, axis=0) / counts[held, None]
    owner = _nearest(rows, centres)[0]
    parts = np.split(
        np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner, minlength=len(centres)))[:-1]
    )
    return [part for part in parts if len(part)]


def _nearest(rows: Floats, centres: Floats) -> tuple[Integers, Floats]:
    """Each row's nearest centre, int64 [n], and the squared distance to it, float32 [n]."""
    owner, squared = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.float32)
    step = max(_BLOCK, 2**22 // len(centres))
    for start in range(0, len(rows), step):
        table = _squared_distances(rows[start : start + step], centres)
        owner[start : start + step] = table.argmin(axis=1)
        squared[start : start + step] = table.min(axis=1)
    return owner, squared


def _sum(values: Floats) -> float:
    return float(values.sum(dtype=np.float64))


def _squared_distances(rows: Floats, others: Floats) -> Floats:
    """float32 [n, m], as one product: |x - y|^2 = [x, |x|^2, 1] . [-2 y, 1, |y|^2]."""
    table = _with_columns(rows, np.einsum("nd,nd->n", rows, rows), 1.0)
    against = _with_columns(-2.0 * others, 1.0, np.einsum("nd,nd->n", others, others))
    squares = table @ against.T
    return np.maximum(squares, 0.0, out=squares)


def _with_columns(rows: Floats, *columns: Floats | float) -> Floats:
    table = np.empty((len(rows), rows.shape[1] + len(columns)), dtype=np.float32)
    table[:, : rows.shape[1]] = rows
    for place, column in enumerate(columns, start=rows.shape[1]):
        table[:, place] = column
    return table


def _radii(rows: Floats, chosen: Integers, before: Integers) -> Floats:
    centres = np.concatenate([before, chosen])
    radii = np.full(len(chosen), np.nan, dtype=np.float32)
    for i, row in enumerate(chosen.tolist()):
        earlier = centres[: len(before) + i]
        if len(earlier):
            radii[i] = np.linalg.norm(rows[earlier] - rows[row], axis=1).min()
    return radii
