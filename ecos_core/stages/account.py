"""What a client's data has paid: one record, made from a receipt, kept with every answer, shown everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from ecos_core.client.protocol import Receipt
from ecos_core.config import PrivacyConfig
from ecos_core.privacy.accounting import epsilon_autodp
from ecos_core.privacy.events import HISTOGRAM_SENSITIVITY, MAX_SIGMA, Adjacency, GaussianEvent
from ecos_core.privacy.gaussian import mu_of


@dataclass(frozen=True)
class Account:
    """The account after one release.

    ``epsilon_release``: of this one; ``epsilon``: of all so far, at ``delta``, as the client charges it;
    ``epsilon_autodp``: the same by autodp, see ``autodp_total``.
    ``sigma``: standard deviation of the noise in records, ``sensitivity``: L2, ``gamma``: share of the records asked.
    ``epsilon_limit``: what the client said its limit is when it was asked; owners may change it, so no file keeps it.
    """

    epsilon: float
    epsilon_autodp: float
    epsilon_release: float
    delta: float
    sigma: float
    adjacency: str
    gamma: float = 1.0
    sensitivity: float = 1.0
    epsilon_limit: float | None = None

    @classmethod
    def after(cls, receipt: Receipt, privacy: PrivacyConfig, sigma: float, limit: float | None) -> Self:
        """The account that a receipt states, for a release asked for with ``privacy`` at noise ``sigma``."""
        return cls(
            epsilon=receipt.epsilon,
            epsilon_autodp=autodp_total(receipt),
            epsilon_release=receipt.epsilon_release,
            delta=receipt.delta,
            sigma=sigma,
            adjacency=str(privacy.adjacency),
            gamma=privacy.gamma,
            sensitivity=HISTOGRAM_SENSITIVITY[Adjacency(privacy.adjacency)],
            epsilon_limit=limit,
        )

    @classmethod
    def read(cls, stored: Mapping[str, Any], limit: float | None = None) -> Self | None:
        """From an artefact's summary; None for what no client was asked for (the demo's noise-free reference)."""
        if "epsilon_release" not in stored:
            return None
        known = {field.name for field in fields(cls)}
        return replace(cls(**{name: stored[name] for name in known & stored.keys()}), epsilon_limit=limit)

    def stored(self) -> dict[str, Any]:
        """What an artefact keeps of it."""
        return {name: value for name, value in asdict(self).items() if name != "epsilon_limit"}

    @property
    def remaining(self) -> float | None:
        """Epsilon left below the limit; None where that is not known."""
        return None if self.epsilon_limit is None else max(0.0, self.epsilon_limit - self.epsilon)


def autodp_total(receipt: Receipt) -> float:
    """autodp's price of this release's events after the client's past.

    A receipt names its own events; of the past it states the epsilon only, which is taken as the one Gaussian release
    that costs it. So it is autodp's word on a first release, and after others its word on the composition.
    """
    if receipt.epsilon_autodp is not None:
        return receipt.epsilon_autodp
    events = [
        GaussianEvent(event.sigma, event.sensitivity, Adjacency(event.adjacency), event.gamma, event.count)
        for event in receipt.events
    ]
    past = mu_of(receipt.epsilon, receipt.delta) ** 2 - mu_of(receipt.epsilon_release, receipt.delta) ** 2
    if past > MAX_SIGMA**-2:
        events.append(GaussianEvent(past**-0.5, 1.0, events[0].adjacency))
    return epsilon_autodp(events, receipt.delta)
