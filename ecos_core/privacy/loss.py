"""Privacy-loss distributions of the discrete Gaussian, built exactly on its lattice, composed by
dp_accounting.

The loss of one release takes countably many values, one for each integer of the noise. Each atom is split
over its two neighbours on a regular grid so that the mass under both data sets is kept ("connect the
dots", Doroshenko, Ghazi, Kamath, Kumar, Manurangsi, PETS 2022): the result is never optimistic, and its
error is of second order in the grid's interval. Composition is dp_accounting's ``DensePLDPmf``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecos_core.privacy.events import Adjacency, GaussianEvent

if TYPE_CHECKING:
    from dp_accounting.pld.pld_pmf import DensePLDPmf

Floats = NDArray[np.float64]

# Noise beyond this many sigma has mass below 1e-30; it is counted as a total loss of privacy.
TAIL_SIGMAS = 11.6
TAIL_MASS = 1e-30
# Mass given up at each composition, charged to delta: delta must stay far above it.
COMPOSE_TAIL = 1e-15


def cell_changes(event: GaussianEvent) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How far each cell moves: by the record that leaves, and by the one that comes (empty unless replacing).

    The fewest cells that give the squared sensitivity: fewer cells, coarser losses, the larger epsilon.
    """
    square = event.squared_sensitivity
    if event.adjacency is Adjacency.REPLACE and square % 2 == 0:
        return sum_of_squares(square // 2), sum_of_squares(square // 2)
    return sum_of_squares(square), ()


@lru_cache(maxsize=1024)
def sum_of_squares(total: int) -> tuple[int, ...]:
    """The fewest positive integers whose squares sum to ``total``: at most four (Lagrange)."""
    root = math.isqrt(total)
    if root * root == total:
        return (root,)
    for first in range(root, 0, -1):
        rest = math.isqrt(total - first * first)
        if rest * rest == total - first * first:
            return (first, rest)
    for first in range(root, 0, -1):
        if len(tail := sum_of_squares(total - first * first)) == 2:
            return (first, *tail)
    return (root, *sum_of_squares(total - root * root))


def unshifted_losses(sigma: float, cells: tuple[int, ...]) -> tuple[Floats, Floats]:
    """log(shifted / unshifted) density ratio and its probability under the unshifted noise.

    The ratio at noise x is (cells . x) / sigma^2 - |cells|^2 / (2 sigma^2), so one integer, cells . x, is
    enough.
    """
    bound = math.ceil(TAIL_SIGMAS * sigma) + max(cells)
    noise = np.arange(-bound, bound + 1, dtype=np.float64)
    law = np.exp(-0.5 * (noise / sigma) ** 2)
    law /= law.sum()
    sums: Floats = np.ones(1)
    for cell in cells:
        spread = np.zeros((len(law) - 1) * cell + 1)
        spread[::cell] = law
        sums = (
            np.convolve(sums, spread)
            if len(sums) < 2000 or len(spread) < 2000
            else _fft_convolve(sums, spread)
        )
    top = (len(sums) - 1) // 2
    kept = np.flatnonzero(sums > 0.0)
    projection = (kept - top).astype(np.float64)
    ratio = (projection - 0.5 * sum(cell * cell for cell in cells)) / sigma**2
    return ratio, sums[kept]


def _fft_convolve(first: Floats, second: Floats) -> Floats:
    from scipy.signal import fftconvolve

    return np.maximum(fftconvolve(first, second), 0.0)


def subsampled_losses(
    sigma: float, cells: tuple[int, ...], gamma: float, *, removing: bool
) -> tuple[Floats, Floats]:
    """Loss and its probability for adding or removing one record before Poisson subsampling at rate
    ``gamma``.

    Removing: the data with the record, (1 - gamma) f + gamma f shifted, against the data without, f.
        Adding: the reverse (Zhu, Dong, Wang, AISTATS 2022, theorem 11; Koskela et al. 2020).
    """
    ratio, law = unshifted_losses(sigma, cells)
    mixed = ratio if gamma == 1.0 else np.logaddexp(math.log1p(-gamma), math.log(gamma) + ratio)
    if removing:
        return mixed, law * np.exp(mixed)
    return -mixed, law


def on_grid(losses: Floats, law: Floats, interval: float) -> DensePLDPmf:
    """Split every atom over its two neighbours on the grid, keeping its mass under both data sets."""
    from dp_accounting.pld.pld_pmf import DensePLDPmf

    below = np.floor(losses / interval)
    share_above = -np.expm1(-(losses - below * interval)) / -math.expm1(-interval)
    share_above = np.clip(share_above, 0.0, 1.0)
    lowest = int(below.min())
    index = (below - lowest).astype(np.int64)
    size = int(index.max()) + 2
    probabilities = np.bincount(index, law * (1.0 - share_above), size)
    probabilities += np.bincount(index + 1, law * share_above, size)
    return DensePLDPmf(interval, lowest, probabilities, TAIL_MASS, True)


def grid_interval(events: tuple[GaussianEvent, ...]) -> float:
    """Interval of the common grid: a small share of the whole loss's spread, fine for each event, bounded
    in length.

    The error is about (interval / spread of one loss)^2 / 8 of the spread, per event; the spread of one
    loss is close to gamma * sensitivity / sigma.
    """
    spreads = [event.gamma * event.sensitivity / event.sigma for event in events]
    whole = math.sqrt(sum(event.count * spread**2 for event, spread in zip(events, spreads, strict=True)))
    return max(whole * 1e-5, min(whole * 1e-3, min(spreads) / 200.0))


def compose_losses(events: tuple[GaussianEvent, ...]) -> tuple[DensePLDPmf, DensePLDPmf]:
    """The losses of all events together, for adding and for removing; one object twice where they are equal.

    Replacing is symmetric: with disjoint cells its loss is that of removing one record plus that of
    adding one.
    """
    interval = grid_interval(events)
    parts = [_event_losses(event, interval) for event in events]
    removing = _compose_all([part[1] for part in parts])
    if all(part[0] is part[1] for part in parts):
        return removing, removing
    return _compose_all([part[0] for part in parts]), removing


def _event_losses(event: GaussianEvent, interval: float) -> tuple[DensePLDPmf, DensePLDPmf]:
    leaving, coming = cell_changes(event)
    removing = on_grid(*subsampled_losses(event.sigma, leaving, event.gamma, removing=True), interval)
    if event.gamma == 1.0:
        adding = removing
    else:
        adding = on_grid(*subsampled_losses(event.sigma, leaving, event.gamma, removing=False), interval)
    if not coming:
        many = _repeat(removing, event.count)
        return (many, many) if adding is removing else (_repeat(adding, event.count), many)
    if adding is removing:
        both = _repeat(removing, 2 * event.count)
    else:
        both = _repeat(removing.compose(adding, COMPOSE_TAIL), event.count)
    return both, both


def _repeat(losses: DensePLDPmf, count: int) -> DensePLDPmf:
    return losses if count == 1 else losses.self_compose(count, COMPOSE_TAIL)


def _compose_all(parts: list[DensePLDPmf]) -> DensePLDPmf:
    """Pair by pair, so that the long convolutions are few."""
    while len(parts) > 1:
        pairs = [parts[i].compose(parts[i + 1], COMPOSE_TAIL) for i in range(0, len(parts) - 1, 2)]
        parts = pairs + (parts[-1:] if len(parts) % 2 else [])
    return parts[0]


def epsilon_of(losses: DensePLDPmf, delta: float) -> float:
    """The smallest epsilon >= 0 with hockey-stick divergence at most ``delta``; infinite where there is none.

    delta(epsilon) = sum over losses above epsilon of probability (1 - exp(epsilon - loss)): solved
    exactly between two points of the grid, in numpy, since dp_accounting walks the grid in Python.
    """
    interval, infinity = losses._discretization, losses._infinity_mass
    law = np.maximum(losses._probs, 0.0)
    grid = (np.arange(len(law)) + losses._lower_loss) * interval
    if infinity > delta:
        return math.inf
    keep = grid > 0.0
    grid, law = grid[keep], law[keep]
    if not len(grid):
        return 0.0
    # Mass above under the first and, scaled against overflow, under the second data set.
    above = np.cumsum(law[::-1])[::-1]
    scaled = _decayed_sums(law, interval)
    # delta just at grid[i]: only atoms strictly above count, and atom i itself adds nothing.
    at_grid = infinity + above - scaled
    first = int(np.argmax(at_grid <= delta)) if np.any(at_grid <= delta) else len(grid)
    # The crossing lies in (grid[first - 1], grid[first]], where the atoms from `first` on count.
    top, bottom = infinity + above[first] - delta, scaled[first]
    if top <= 0.0:
        return 0.0
    return max(0.0, float(grid[first] + math.log(top / bottom)))


def _decayed_sums(law: Floats, interval: float) -> Floats:
    """S[i] = sum over j >= i of law[j] exp(-(j - i) interval)."""
    from scipy.signal import lfilter

    filtered: Floats = lfilter([1.0], [1.0, -math.exp(-interval)], law[::-1])
    return filtered[::-1]
