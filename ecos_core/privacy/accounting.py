"""Events in, epsilon out: the accountants, and the check that they agree.

* ``epsilon_exact``: privacy-loss distribution of the discrete Gaussian, never optimistic: what is charged.
* ``epsilon_autodp``: autodp, the named accountant. It prices the continuous Gaussian: tight without
  subsampling (``ComposeGaussian``), Renyi accounting and so loose for composed subsampled releases.
* ``epsilon_paper``: the accounting of Hong et al. 2022, valid but looser still, for comparison.

All events of one call share one adjacency. Epsilon is 0 without events.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ecos_core.errors import EcosError, InputError
from ecos_core.privacy.events import GaussianEvent, common_adjacency, merge_events
from ecos_core.privacy.loss import compose_losses, epsilon_of, shape_margin
from ecos_core.privacy.renyi import epsilon_paper as _renyi_paper
from ecos_core.privacy.renyi import epsilon_renyi, renyi_parts

# Below it the mass that numerical composition gives up would count.
MIN_DELTA = 1e-10
# How far autodp may be from the exact figure, relative: the first, and the second over sigma^2.
LATTICE_GAP, LATTICE_GAP_COARSE = 0.001, 0.15


@dataclass(frozen=True)
class Spend:
    """What some events cost together, at ``delta``: exactly, and by autodp."""

    epsilon: float
    epsilon_autodp: float
    delta: float


class AccountantsDisagree(EcosError):  # noqa: N818 - the name says it
    """Two accountants differ by more than can be explained: nothing may be released on either's word."""

    def __init__(self, exact: float, autodp: float, delta: float) -> None:
        super().__init__(
            f"accountants disagree at delta {delta:g}: exact epsilon {exact:.6g}, autodp {autodp:.6g}; "
            "nothing was released; report this with the versions of `ecos doctor`"
        )
        self.exact = exact
        self.autodp = autodp


def account(events: Sequence[GaussianEvent], delta: float) -> Spend:
    """Price the events with both accountants; refuse to answer when they disagree.

    Raises AccountantsDisagree, and InputError on mixed adjacencies or a delta outside 1e-10..1.
    """
    exact = epsilon_exact(events, delta)
    autodp = epsilon_autodp(events, delta)
    low, high = expected_autodp(events, exact, delta)
    if not low <= autodp <= high:
        raise AccountantsDisagree(exact, autodp, delta)
    return Spend(exact, autodp, delta)


def expected_autodp(events: Sequence[GaussianEvent], exact: float, delta: float) -> tuple[float, float]:
    """The range in which autodp's epsilon must lie, given the exact one.

    Without subsampling: within 0.1 % + 0.15 / sigma^2 of it (sigma the smallest of the releases) and 1e-5. That is
    what separates the continuous from the discrete Gaussian: a scan of sigma 1 to 60 and delta 1e-10 to 1e-3 found
    up to 0.11 / sigma^2, either way. Under sigma 1 they are different mechanisms and only the order of magnitude is
    checked. Below, there is also the margin on sensitivities above sqrt(3). Above, after subsampling, what Renyi
    accounting loses, which is computed here once more (autodp searches the orders less well where epsilon is
    below 0.001).
    """
    if not events:
        return 0.0, 0.0
    finest = min(event.sigma for event in events)
    lattice = LATTICE_GAP + LATTICE_GAP_COARSE / finest**2
    # A margin of m on the sensitivity is one of up to 2 m, and a little, on epsilon.
    margin = max(2.2 * shape_margin(event) for event in events)
    below, beyond = (lattice + margin, lattice) if finest >= 1.0 else (0.5, 2.0)
    above, slack = exact, 1e-5
    if any(event.gamma < 1.0 for event in events):
        above, slack = max(exact, epsilon_renyi(merge_events(events), delta)), 1e-3
    return exact * (1.0 - below) - 1e-5, above * (1.0 + beyond) + slack


def epsilon_exact(events: Sequence[GaussianEvent], delta: float) -> float:
    """The smallest epsilon at which all events together are (epsilon, delta)-DP, up to 0.1 % more."""
    merged = _checked(events, delta)
    return _epsilon_exact(merged, float(delta)) if merged else 0.0


@lru_cache(maxsize=4096)
def _epsilon_exact(merged: tuple[GaussianEvent, ...], delta: float) -> float:
    adding, removing = compose_losses(merged)
    if adding is removing:
        return epsilon_of(removing, delta)
    return max(epsilon_of(adding, delta), epsilon_of(removing, delta))


def epsilon_autodp(events: Sequence[GaussianEvent], delta: float) -> float:
    """autodp's epsilon at ``delta`` for all events together."""
    merged = _checked(events, delta)
    return _epsilon_autodp(merged, float(delta)) if merged else 0.0


@lru_cache(maxsize=4096)
def _epsilon_autodp(merged: tuple[GaussianEvent, ...], delta: float) -> float:
    with _quiet_autodp():
        return max(0.0, float(_autodp_mechanism(merged).get_approxDP(delta)))


def _autodp_mechanism(merged: tuple[GaussianEvent, ...]) -> Any:
    """Compose with the tightest transformers that autodp has for these events."""
    from autodp.mechanism_zoo import ExactGaussianMechanism
    from autodp.transformer_zoo import ComposeGaussian, Composition

    mechanisms: list[Any] = []
    counts: list[int] = []
    if plain := [event for event in merged if event.gamma == 1.0]:
        gaussians = [ExactGaussianMechanism(sigma=event.sigma / event.sensitivity) for event in plain]
        mechanisms.append(ComposeGaussian()(gaussians, [event.count for event in plain]))
        counts.append(1)
    for event in merged:
        if event.gamma < 1.0:
            scale, gamma, count = renyi_parts(event)
            mechanisms.append(_autodp_subsampled(math.sqrt(0.5 / scale), gamma))
            counts.append(count)
    return mechanisms[0] if counts == [1] else Composition()(mechanisms, counts)


@lru_cache(maxsize=256)
def _autodp_subsampled(noise: float, gamma: float) -> Any:
    """autodp's Poisson-subsampled Gaussian; ``noise`` is sigma / sensitivity. Kept, since it caches its
    orders.

    The improved bound's conditions hold for Gaussian noise (Zhu and Wang, ICML 2019, theorem 8).
    """
    from autodp.mechanism_zoo import ExactGaussianMechanism
    from autodp.transformer_zoo import AmplificationBySampling

    amplify = AmplificationBySampling(PoissonSampling=True)
    return amplify(ExactGaussianMechanism(sigma=noise), gamma, improved_bound_flag=True)


@contextlib.contextmanager
def _quiet_autodp() -> Any:
    """autodp prints, and warns of scipy's options."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def epsilon_paper(events: Sequence[GaussianEvent], delta: float) -> float:
    """The original paper's accounting, see ``renyi.epsilon_paper``: for comparison, never charged."""
    return _renyi_paper(_checked(events, delta), delta)


def _checked(events: Sequence[GaussianEvent], delta: float) -> tuple[GaussianEvent, ...]:
    if not MIN_DELTA <= delta < 1.0:
        raise InputError(f"delta must be at least {MIN_DELTA:g} and below 1, got {delta:g}")
    common_adjacency(events)
    return merge_events(events)


def clear_caches() -> None:
    """Forget all prices computed so far: for benchmarks, and to give the memory back."""
    _epsilon_exact.cache_clear()
    _epsilon_autodp.cache_clear()


# Every accountant passes one suite of tests (tests/ecos_core/privacy/test_accounting.py).
ACCOUNTANTS: dict[str, Callable[[Sequence[GaussianEvent], float], float]] = {
    "exact": epsilon_exact,
    "autodp": epsilon_autodp,
    "paper": epsilon_paper,
}
