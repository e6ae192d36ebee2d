"""Events in, epsilon out, by three accountants, and the check that two of them agree.

* ``epsilon_charged``: what every limit is held against: ``gaussian.Loss``, a proven bound for any way of choosing
  the questions, in constant time. At sigma 5 and above at most 0.3 % over the exact figure of fixed questions.
* ``epsilon_autodp``: autodp, the named accountant, on the continuous Gaussian and for fixed questions: a witness
  for whoever has it installed (the extra ``verify``). Tight without subsampling (``ComposeGaussian``).
* ``epsilon_paper``: the accounting of Hong et al. 2022, valid but loose, for comparison.

All events of one call share one adjacency. Epsilon is 0 without events.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecos_core.errors import EcosError, InputError, MissingDependencyError
from ecos_core.privacy.events import GaussianEvent, common_adjacency, merge_events
from ecos_core.privacy.gaussian import Loss, loss_of
from ecos_core.privacy.renyi import epsilon_paper as _renyi_paper

MIN_DELTA = 1e-10
# Most that the lattice adds to mu, relative: the first over sigma^2, and the second.
LATTICE, CLOSED_FORM = 0.046, 1e-4


@dataclass(frozen=True)
class Spend:
    """What some events cost together, at ``delta``."""

    epsilon: float
    delta: float


class AccountantsDisagree(EcosError):  # noqa: N818 - the name says it
    """Two accountants differ by more than can be explained."""

    def __init__(self, charged: float, autodp: tuple[float, float], delta: float) -> None:
        super().__init__(
            f"accountants disagree at delta {delta:g}: charged epsilon {charged:.6g}, by autodp it lies between "
            f"{autodp[0]:.6g} and {autodp[1]:.6g}; answer nothing and report this with the versions of `ecos doctor`"
        )


def check_delta(delta: float) -> None:
    """Raises InputError on a delta outside 1e-10..1."""
    if not MIN_DELTA <= delta < 1.0:
        raise InputError(f"delta must be at least {MIN_DELTA:g} and below 1, got {delta:g}")


def total_loss(events: Iterable[GaussianEvent], delta: float) -> Loss:
    """The loss of all events together. Raises InputError on a delta outside 1e-10..1."""
    check_delta(delta)
    return sum((loss_of(event, delta) for event in events), Loss())


def epsilon_charged(events: Sequence[GaussianEvent], delta: float) -> float:
    """An epsilon at which all events together are (epsilon, delta)-DP, also when each was chosen after the
    answers to the earlier ones. Raises InputError on mixed adjacencies or a delta outside 1e-10..1.
    """
    common_adjacency(events)
    return total_loss(merge_events(events), delta).epsilon(delta)


def autodp_is_here() -> bool:
    """Whether the extra ``verify`` is installed."""
    return importlib.util.find_spec("autodp") is not None


def epsilon_autodp(events: Sequence[GaussianEvent], delta: float) -> float:
    """autodp's epsilon at ``delta`` for all events together. Raises InputError where it is not installed."""
    check_delta(delta)
    common_adjacency(events)
    merged = merge_events(events)
    if not autodp_is_here():
        raise MissingDependencyError("autodp", "verify")
    if not merged:
        return 0.0
    with _quiet_autodp():
        return max(0.0, float(_autodp_mechanism(merged).get_approxDP(delta)))


def witnessed(events: Sequence[GaussianEvent], delta: float) -> float:
    """autodp's word on the events: their epsilon without any sampling. Raises AccountantsDisagree unless what is
    charged for them without sampling lies between that and autodp's price of the lattice's margin, and what is
    charged with sampling is not above.
    """
    plain = [replace(event, gamma=1.0) for event in events]
    charged, sampled = epsilon_charged(plain, delta), epsilon_charged(events, delta)
    low = epsilon_autodp(plain, delta)
    high = epsilon_autodp([replace(event, sigma=event.sigma / _margin(event)) for event in plain], delta)
    if not low * (1.0 - 1e-6) - 1e-6 <= charged <= high * (1.0 + 1e-6) + 1e-6 or sampled > charged:
        raise AccountantsDisagree(charged, (low, high), delta)
    return low


def _margin(event: GaussianEvent) -> float:
    return 2.0 if event.sigma < 1.0 else 1.0 + LATTICE / event.sigma**2 + CLOSED_FORM


def _autodp_mechanism(merged: tuple[GaussianEvent, ...]) -> Any:
    """Compose with the tightest transformers that autodp has for these events."""
    from autodp.mechanism_zoo import ExactGaussianMechanism
    from autodp.transformer_zoo import AmplificationBySampling, ComposeGaussian, Composition

    mechanisms: list[Any] = []
    counts: list[int] = []
    if plain := [event for event in merged if event.gamma == 1.0]:
        gaussians = [ExactGaussianMechanism(sigma=event.sigma / event.sensitivity) for event in plain]
        mechanisms.append(ComposeGaussian()(gaussians, [event.count for event in plain]))
        counts.append(1)
    amplify = AmplificationBySampling(PoissonSampling=True)
    for event in merged:
        if event.gamma < 1.0:
            # The improved bound's conditions hold for Gaussian noise (Zhu and Wang, ICML 2019, theorem 8).
            square, sides = event.sides
            noise = ExactGaussianMechanism(sigma=event.sigma / math.sqrt(square))
            mechanisms.append(amplify(noise, event.gamma, improved_bound_flag=True))
            counts.append(sides * event.count)
    return mechanisms[0] if counts == [1] else Composition()(mechanisms, counts)


@contextlib.contextmanager
def _quiet_autodp() -> Any:
    """autodp prints, and warns of scipy's options."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def epsilon_paper(events: Sequence[GaussianEvent], delta: float) -> float:
    """The original paper's accounting, see ``renyi.epsilon_paper``: for comparison, never charged."""
    check_delta(delta)
    common_adjacency(events)
    return _renyi_paper(merge_events(events), delta)


# Every accountant passes one suite of tests (tests/ecos_core/privacy/test_accounting.py).
ACCOUNTANTS: dict[str, Callable[[Sequence[GaussianEvent], float], float]] = {
    "charged": epsilon_charged,
    "autodp": epsilon_autodp,
    "paper": epsilon_paper,
}
