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


def shift_losses(sigma: float, square: int) -> tuple[Floats, Floats, Floats]:
    """log(density with the record / density without), and the probability of each value without and with it.

    ``square`` is the squared shift. With unit changes in that many cells the ratio is (sum of their noises -
    square / 2) / sigma^2: a function of one integer. Larger shifts are taken along one coordinate with the margin
    of ``SHAPE_MARGIN``.
    """
    reach = math.ceil(TAIL_SIGMAS * sigma)
    if square > UNIT_CELLS:
        shift = math.sqrt(square) * (1.0 + SHAPE_MARGIN / sigma**2)
        noise = np.arange(-reach, reach + math.ceil(shift) + 1, dtype=np.float64)
        return (shift * noise - 0.5 * shift**2) / sigma**2, _law(noise, sigma), _law(noise - shift, sigma)
    one = _law(np.arange(-reach, reach + 1, dtype=np.float64), sigma)
    total = one
    for _ in range(square - 1):
        total = _convolve(total, one)
    sums = np.arange(len(total) + square, dtype=np.float64) - (len(total) - 1) // 2
    nothing = np.zeros(square)
    return (sums - 0.5 * square) / sigma**2, np.append(total, nothing), np.append(nothing, total)


def _law(noise: Floats, sigma: float) -> Floats:
    """The discrete Gaussian at ``noise``."""
    weights: Floats = np.exp(-0.5 * (noise / sigma) ** 2)
    return weights / weights.sum()


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
    ratio, without, present = shift_losses(sigma, square)
    mixed = ratio if gamma == 1.0 else np.logaddexp(math.log1p(-gamma), math.log(gamma) + ratio)
    losses, law = (mixed, (1.0 - gamma) * without + gamma * present) if removing else (-mixed, without)
    return losses[law > 0.0], law[law > 0.0]


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
    """Interval of the common grid, a power of two, such that discretising overstates epsilon by less than 1e-4.

    One loss spreads by about gamma * sensitivity / sigma, all of them by the root of their squares' sum. Splitting an
    atom adds at most interval^2 / 4 to the variance, so n releases at a 64th of spread / sqrt(n) add 6e-5 of it.
    """
    releases = sum(event.count for event in events)
    squares = sum(event.count * (event.gamma * event.sensitivity / event.sigma) ** 2 for event in events)
    spread = math.sqrt(squares)
    finest = spread * min(max(1.0 / (64.0 * math.sqrt(releases)), 3e-5), 3e-3)
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


def sides(event: GaussianEvent) -> tuple[int, bool]:
    """The squared change by one record, and whether one leaves while another comes, each with that change."""
    square = event.squared_sensitivity
    both = event.adjacency is Adjacency.REPLACE and square % 2 == 0
    return (square // 2 if both else square), both


def shape_margin(event: GaussianEvent) -> float:
    """What is added to the sensitivity (relative) since the cells that change are not known."""
    return 0.0 if sides(event)[0] <= UNIT_CELLS else SHAPE_MARGIN / event.sigma**2


def _event_losses(event: GaussianEvent, interval: float) -> tuple[DensePLDPmf, DensePLDPmf]:
    """Adding and removing. Replacing on disjoint cells is both at once: the densities are products, so
    the loss is the sum of that of the record that leaves and that of the one that comes, and it is
    symmetric."""
    square, both = sides(event)
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
