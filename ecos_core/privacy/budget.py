"""How much may be spent, by whom, and how much is: limits, accounts and the check before a release."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy.accounting import Spend, account
from ecos_core.privacy.events import GaussianEvent


@dataclass(frozen=True)
class Limits:
    """Epsilons at the ledger's delta.

    Attributes:
        total: hard limit for one data version, over all requesters and for ever.
        per_requester: limit for one requester on one data version; None: only the total counts.
        window_s: seconds after which a requester's spending no longer counts against ``per_requester``;
            the total is never refreshed.
    """

    total: float
    per_requester: float | None = None
    window_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise InputError(f"ledger limit '{name}' must be a positive number, got {value}")
        if self.window_s is not None and self.per_requester is None:
            raise InputError("ledger limit 'window_s' refreshes 'per_requester': give that one too")

    @property
    def requester_limit(self) -> float:
        """What one requester may spend on one data version."""
        return self.total if self.per_requester is None else min(self.per_requester, self.total)


@dataclass
class Account:
    """Releases of one data version, in order: when, to whom, what."""

    releases: list[tuple[float, str, tuple[GaussianEvent, ...]]] = field(default_factory=list)

    def add(self, when: float, requester: str, events: tuple[GaussianEvent, ...]) -> None:
        self.releases.append((when, requester, events))

    def events(self, requester: str | None = None, since: float = -math.inf) -> list[GaussianEvent]:
        """All events, or one requester's, or those after ``since`` (seconds of the epoch)."""
        return [
            event
            for when, who, events in self.releases
            if when > since and (requester is None or who == requester)
            for event in events
        ]


def check_budget(
    account_of_version: Account,
    limits: Limits,
    requester: str,
    events: Sequence[GaussianEvent],
    *,
    delta: float,
    now: float,
) -> Spend:
    """What the data version's total becomes with ``events`` added. Raises BudgetExceeded when a limit
    forbids it."""
    since = -math.inf if limits.window_s is None else now - limits.window_s
    if limits.per_requester is not None:
        _check(account_of_version.events(requester, since), events, limits.per_requester, delta)
    return _check(account_of_version.events(), events, limits.total, delta)


def _check(
    before: Sequence[GaussianEvent], events: Iterable[GaussianEvent], limit: float, delta: float
) -> Spend:
    after = account([*before, *events], delta)
    if after.epsilon > limit:
        raise BudgetExceeded(after.epsilon, account(before, delta).epsilon, limit, delta)
    return after
