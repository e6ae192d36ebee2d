"""Privacy-loss distributions of the discrete Gaussian, built on its own lattice, composed by dp_accounting.

The loss of one release takes one value for each integer of the noise. Each such atom is split over its two
neighbours on a regular grid so that its mass under both data sets is kept ("connect the dots": Doroshenko,
Ghazi, Kamath, Kumar, Manurangsi, PETS 2022). The result is never optimistic and its error is of second order
in the grid's interval. Composition is dp_accounting's ``DensePLDPmf``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ecos_core.privacy.events import Adjacency, GaussianEvent

if TYPE_CHECKING:
    from dp_accounting.pld.pld_pmf import DensePLDPmf

Floats = NDArray[np.float64]

# Noise beyond this many sigma has mass below 1e-30, which is counted as a total loss of privacy.
TAIL_SIGMAS = 11.6
TAIL_MASS = 1e-30
# Mass given up at each composition, charged to delta as a total loss: far below any delta that is allowed.
COMPOSE_TAIL = 1e-15
# The most points for the losses of one event; below it the interval follows the spread of the losses.
MAX_GRID = 2**18
# A squared sensitivity up to this one has one form only: so many cells, each changed by 1.
UNIT_CELLS = 3
# Larger ones have several; one coordinate with this share over sigma^2 more covers all of them (a search
# over the forms of 15 squares up to 27, sigma 1 to 10, delta 1e-8 to 1e-3 needed 0.10).
SHAPE_MARGIN = 0.12


def unshifted_losses(sigma: float, square: int) -> tuple[Floats, Floats]:
    """log(density with the record / density without) and its probability without, for a squared shift
    ``square``.

    With unit changes in ``square`` cells the ratio is (sum of their noises - square / 2) / sigma^2: a
    function of one integer. Larger shifts are taken along one coordinate with the margin of
    ``SHAPE_MARGIN``.
    """
    bound = math.ceil(TAIL_SIGMAS * sigma) + 1
    noise = np.arange(-bound, bound + 1, dtype=np.float64)
    law = np.exp(-0.5 * (noise / sigma) ** 2)
    law /= law.sum()
    if square <= UNIT_CELLS:
        total = law
        for _ in range(square - 1):
            total = _convolve(total, law)
        sums = np.arange(len(total), dtype=np.float64) - (len(total) - 1) // 2
        ratio, law = (sums - 0.5 * square) / sigma**2, total
    else:
        shift = math.sqrt(square) * (1.0 + SHAPE_MARGIN / sigma**2)
        ratio = (shift * noise - 0.5 * shift**2) / sigma**2
    kept = law > 0.0
    return ratio[kept], law[kept]


def _convolve(first: Floats, second: Floats) -> Floats:
    if min(len(first), len(second)) < 2000:
        return np.convolve(first, second)
    from scipy.signal import fftconvolve

    return np.maximum(fftconvolve(first, second), 0.0)


def subsampled_losses(sigma: float, square: int, gamma: float, *, removing: bool) -> tuple[Floats, Floats]:
    """Loss and its probability for one record removed or added before Poisson subsampling at rate ``gamma``.

    Removing: (1 - gamma) f + gamma f shifted against f, drawn from the first. Adding: f against the mixture,
    drawn from f (Zhu, Dong, Wang, AISTATS 2022, theorem 11).
    """
    ratio, law = unshifted_losses(sigma, square)
    mixed = ratio if gamma == 1.0 else np.logaddexp(math.log1p(-gamma), math.log(gamma) + ratio)
    if not removing:
        return -mixed, law
    return mixed, law * np.exp(mixed)


def on_grid(losses: Floats, law: Floats, interval: float) -> DensePLDPmf:
    """Split every atom over its two neighbours on the grid, keeping its mass under both data sets.

    An atom p at loss l between a and a + h goes to p (1 - e^(a - l)) / (1 - e^(-h)) above and the rest below.
    """
    from dp_accounting.pld.pld_pmf import DensePLDPmf

    below = np.floor(losses / interval)
    share_above = np.clip(np.expm1(below * interval - losses) / math.expm1(-interval), 0.0, 1.0)
    lowest = int(below.min())
    index = (below - lowest).astype(np.int64)
    size = int(index.max()) + 2
    probabilities = np.bincount(index, law * (1.0 - share_above), size)
    probabilities += np.bincount(index + 1, law * share_above, size)
    return DensePLDPmf(interval, lowest, probabilities, TAIL_MASS, True)


def grid_interval(events: tuple[GaussianEvent, ...]) -> float:
    """Interval of the common grid: fine for the spread of each event's loss and of the whole, bounded in
    length.

    One loss spreads by about gamma * sensitivity / sigma. An interval of a 64th of that overstates epsilon by
    less than 1e-4 (2e-5 was the most seen against a grid 30 times finer). Rounded down to a power of two.
    """
    spreads = [event.gamma * event.sensitivity / event.sigma for event in events]
    whole = math.sqrt(sum(event.count * spread**2 for event, spread in zip(events, spreads, strict=True)))
    finest = max(whole * 3e-5, min(whole * 3e-3, min(spreads) / 64.0))
    longest = max(_longest_loss(event) for event in events)
    return float(2.0 ** math.floor(math.log2(max(finest, longest / MAX_GRID))))


def _longest_loss(event: GaussianEvent) -> float:
    """Largest absolute loss of one release within the tails kept."""
    ratio = event.sensitivity / event.sigma
    longest = TAIL_SIGMAS * ratio + ratio**2
    return longest if event.gamma == 1.0 else math.log1p(event.gamma * math.expm1(min(longest, 700.0)))


def compose_losses(events: tuple[GaussianEvent, ...]) -> tuple[DensePLDPmf, DensePLDPmf]:
    """The losses of all events together, for adding and for removing; one object twice where they are
    equal."""
    interval = grid_interval(events)
    parts = [_event_losses(event, interval) for event in events]
    removing = _compose_all([part[1] for part in parts])
    if all(part[0] is part[1] for part in parts):
        return removing, removing
    return _compose_all([part[0] for part in parts]), removing


def _event_losses(event: GaussianEvent, interval: float) -> tuple[DensePLDPmf, DensePLDPmf]:
    """Adding and removing. Replacing on disjoint cells is both at once: the densities are products, so
    the loss is the sum of that of the record that leaves and that of the one that comes, and it is
    symmetric."""
    square = event.squared_sensitivity
    both = event.adjacency is Adjacency.REPLACE and square % 2 == 0
    if both:
        square //= 2
    removing = on_grid(*subsampled_losses(event.sigma, square, event.gamma, removing=True), interval)
    adding = removing
    if event.gamma < 1.0:
        adding = on_grid(*subsampled_losses(event.sigma, square, event.gamma, removing=False), interval)
    if both:
        removing = adding = removing.compose(adding, COMPOSE_TAIL)
    repeated = _repeat(removing, event.count)
    return (repeated if adding is removing else _repeat(adding, event.count)), repeated


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

    delta(epsilon) = sum over losses above epsilon of probability (1 - exp(epsilon - loss)). It is solved
    exactly between two points of the grid, in numpy: dp_accounting walks the grid in Python.
    """
    interval, infinity = losses._discretization, losses._infinity_mass
    if infinity > delta:
        return math.inf
    grid = (np.arange(len(losses._probs)) + losses._lower_loss) * interval
    positive = grid > 0.0
    grid, law = grid[positive], np.maximum(losses._probs[positive], 0.0)
    if not len(grid):
        return 0.0
    above = infinity + np.cumsum(law[::-1])[::-1]
    # Of the other data set's mass above, scaled by exp(grid) so that nothing overflows.
    other = _decayed_sums(law, interval)
    # Divergence at each point; the crossing lies in the interval that ends at the first that is small enough.
    first = int(np.argmax(above - other <= delta))
    if above[first] <= delta:
        return 0.0
    return max(0.0, float(grid[first] + math.log((above[first] - delta) / other[first])))


def _decayed_sums(law: Floats, interval: float) -> Floats:
    """S[i] = sum over j >= i of law[j] exp(-(j - i) interval)."""
    from scipy.signal import lfilter

    filtered: Floats = lfilter([1.0], [1.0, -math.exp(-interval)], law[::-1])
    return filtered[::-1]
