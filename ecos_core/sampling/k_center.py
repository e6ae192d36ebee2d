"""Greedy k-center: farthest first (Gonzalez 1985), within a factor 2 of the best possible radius.

Exact and lazy. A sample's distance to the nearest centre only ever falls, so an old value is an upper bound:
only the *front*, the few samples whose bound is above all others', is kept current at every pick (one
matrix-vector product over a small contiguous block); the rest waits and is brought up to date in
matrix-matrix products over all the centres it has missed. A plain implementation reads all features from
memory at every pick. Known distances to a centroid give the first bounds by the triangle inequality.

Distances are ``||x||^2 - 2 x.c + ||c||^2`` accumulated in float64, so the picks are those of a naive float64
implementation; ties (within rounding) go to the lower row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

# Relative to the largest squared norm: far above float64 rounding of a dot product, far below any real gap.
_TIE = 1e-12
_FRONT_ROWS = (256, 2048)
_CHUNK_ROWS = 4096
_BLOCK_ROWS = 512
_PICKED = -1.0


@dataclass(frozen=True)
class Picks:
    """``indices`` int64 [k] rows in the order picked; ``radii`` float32 [k]: each pick's L2 distance to the
    nearest centre before it (NaN for a first pick with nothing covered)."""

    indices: Integers
    radii: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


def greedy_k_center(
    features: npt.NDArray[Any],
    k: int,
    *,
    first: int | None = None,
    covered: npt.NDArray[Any] | None = None,
    centroid_distances: npt.NDArray[Any] | None = None,
    stop_radius: float | None = None,
) -> Picks:
    """Pick ``k`` rows of ``features`` [n, d], each the farthest from those picked before.

    ``first``: the first pick's row; by default the row nearest the mean, or the farthest from ``covered``.
    ``covered``: rows [m] that count as centres already and are never picked. ``centroid_distances`` float
    [n]: exact L2 distances to some common point, used only to skip work. ``stop_radius``: stop before a pick
    whose radius would be at most this, so that fewer than ``k`` may come back. The first b picks of k are
    the picks for b.

    Raises InputError when ``k`` is negative or more than the rows that are free, or features are not finite.
    """
    rows = np.asarray(features)
    _check(rows, k)
    done = np.unique(np.asarray([] if covered is None else covered, dtype=np.int64))
    if k > len(rows) - len(done):
        raise InputError(f"k-center: {k} picks asked, {len(rows) - len(done)} of {len(rows)} rows are free")
    if k == 0:
        return Picks(np.zeros(0, np.int64), np.zeros(0, np.float32))
    search = _Search(rows, len(done) + k)
    for row in done:
        search.add(int(row))
    if first is None and len(done) == 0:
        first = _nearest_the_mean(rows)
    radii: list[float] = []
    if first is not None:
        if first in done:
            raise InputError(f"k-center: first pick {first} is covered already")
        radii.append(float("nan") if len(done) == 0 else search.radius_at(first))
        search.add(first)
        if centroid_distances is not None:
            search.bound(centroid_distances, first)
    radii += search.run(k - len(radii), -1.0 if stop_radius is None else stop_radius)
    picked = search.order[len(done) : search.count]
    return Picks(picked.copy(), np.asarray(radii, dtype=np.float32))


def _check(rows: npt.NDArray[Any], k: int) -> None:
    if rows.ndim != 2:
        raise InputError(f"k-center: features must be [n, d], found shape {rows.shape}")
    if k < 0:
        raise InputError(f"k-center: {k} picks asked; must not be negative")


def _nearest_the_mean(rows: npt.NDArray[Any]) -> int:
    mean = rows.mean(axis=0, dtype=np.float64)
    return int(np.argmin(_squared_norms(rows) - 2.0 * _times(rows, mean)))


def _squared_norms(rows: npt.NDArray[Any]) -> Doubles:
    out = np.empty(len(rows), dtype=np.float64)
    for start in range(0, len(rows), _CHUNK_ROWS):
        block = rows[start : start + _CHUNK_ROWS].astype(np.float64)
        out[start : start + len(block)] = np.einsum("nd,nd->n", block, block)
    if not np.isfinite(out).all():
        raise InputError("k-center: features must be finite; re-extract the samples whose features are not")
    return out


def _times(rows: npt.NDArray[Any], vector: Doubles) -> Doubles:
    out = np.empty(len(rows), dtype=np.float64)
    for start in range(0, len(rows), _CHUNK_ROWS):
        out[start : start + _CHUNK_ROWS] = rows[start : start + _CHUNK_ROWS].astype(np.float64) @ vector
    return out


@dataclass
class _Search:
    """Bounds of all rows and the centres so far; ``squared`` is exact where ``seen`` equals ``count``."""

    rows: npt.NDArray[Any]
    places: int
    count: int = 0
    squared: Doubles = field(init=False)
    seen: npt.NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self.norms = _squared_norms(self.rows)
        self.tie = _TIE * max(float(self.norms.max()), np.finfo(np.float64).tiny)
        self.squared = np.full(len(self.rows), np.inf)
        self.seen = np.zeros(len(self.rows), dtype=np.int32)
        self.order = np.zeros(self.places, dtype=np.int64)
        self.centres = np.zeros((self.places, self.rows.shape[1]))
        self.centre_norms = np.zeros(self.places)
        low, high = _FRONT_ROWS
        self.front_rows = min(len(self.rows), max(low, min(high, len(self.rows) // 32)))

    def add(self, row: int) -> None:
        """Make ``row`` a centre."""
        self.order[self.count] = row
        self.centres[self.count] = self.rows[row]
        self.centre_norms[self.count] = self.norms[row]
        self.squared[row] = _PICKED
        self.count += 1

    def radius_at(self, row: int) -> float:
        """Exact L2 distance of one row to the nearest centre."""
        self._update(np.array([row]))
        return float(np.sqrt(max(self.squared[row], 0.0)))

    def bound(self, centroid_distances: npt.NDArray[Any], first: int) -> None:
        """Upper bounds by the triangle inequality through a common point, with room for float32 rounding."""
        through = np.asarray(centroid_distances, dtype=np.float64)
        bounds = ((through + through[first]) * (1.0 + 1e-5)) ** 2 + self.tie
        np.minimum(self.squared, bounds, out=self.squared)

    def run(self, picks: int, stop_radius: float) -> list[float]:
        """Up to ``picks`` further centres; their radii."""
        radii: list[float] = []
        while len(radii) < picks:
            front, ceiling = self._front()
            block = self.rows[front].astype(np.float64)
            values, norms = self.squared[front], self.norms[front]
            while len(radii) < picks:
                largest = values.max()
                if largest - self.tie <= ceiling:
                    break
                best = int(np.argmax(values >= largest - self.tie))
                radius = float(np.sqrt(max(values[best], 0.0)))
                if radius <= stop_radius:
                    return radii
                radii.append(radius)
                self.add(int(front[best]))
                fresh = block @ (-2.0 * block[best])
                fresh += norms
                fresh += norms[best]
                np.minimum(values, np.maximum(fresh, 0.0, out=fresh), out=values)
                values[best] = _PICKED
            self.squared[front] = values
            self.seen[front] = self.count
        return radii

    def _front(self) -> tuple[Integers, float]:
        """Rows that are current and above every other row's bound, and the highest of those bounds."""
        while True:
            kept = len(self.squared) - self.front_rows
            cut = float(np.partition(self.squared, kept)[kept]) - self.tie
            inside = self.squared >= cut
            candidates = np.flatnonzero(inside)
            outside = self.squared[~inside]
            ceiling = float(outside.max()) if len(outside) else -np.inf
            stale = candidates[self.seen[candidates] < self.count]
            self._update(stale)
            if len(stale) and len(candidates) > 4 * self.front_rows:
                continue  # bounds that were equal (infinite at first) now differ: cut again
            values = self.squared[candidates]
            if values.max() - self.tie > ceiling:
                return candidates[values > ceiling], ceiling

    def _update(self, stale: Integers) -> None:
        """Bring rows up to date: blocks of rows that have missed about as many centres, one matrix product
        each."""
        stale = stale[np.argsort(self.seen[stale], kind="stable")]
        for start in range(0, len(stale), _BLOCK_ROWS):
            part = stale[start : start + _BLOCK_ROWS]
            # Centres that some rows of the block have seen already change nothing.
            missed = slice(int(self.seen[part[0]]), self.count)
            products = self.rows[part].astype(np.float64) @ self.centres[missed].T
            products *= -2.0
            products += self.centre_norms[missed]
            nearest = np.maximum(products.min(axis=1) + self.norms[part], 0.0)
            alive = self.squared[part] != _PICKED
            self.squared[part] = np.where(alive, np.minimum(self.squared[part], nearest), _PICKED)
        self.seen[stale] = self.count
