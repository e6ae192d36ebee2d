"""How much may be spent and how much is: limits, accounts and the check before a release."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
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
        window_s: seconds after which a requester's spending no longer counts against ``per_requester``; the
            total is never refreshed.
        lifetime: hard limit over all data versions together: records that stay through several versions are
            in all of them. None: each version has its own budget.
    """

    total: float
    per_requester: float | None = None
    window_s: float | None = None
    lifetime: float | None = None

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


@dataclass(frozen=True)
class StatementRow:
    """One charged release. ``shared``: an answer that was stored before, given to a second requester:
    charged to that one, free for the total."""

    sequence: int
    time: float
    requester: str
    data_version: str
    operation: str
    events: tuple[GaussianEvent, ...]
    shared: bool = False


@dataclass
class Account:
    """What was released of one data version, in order, by requester, and merged."""

    rows: list[StatementRow] = field(default_factory=list)
    by_requester: defaultdict[str, list[StatementRow]] = field(default_factory=lambda: defaultdict(list))
    merged: Counter[GaussianEvent] = field(default_factory=Counter)

    def add(self, row: StatementRow) -> None:
        """Charge a release to its requester and, unless it was only shared, to the total."""
        self.by_requester[row.requester].append(row)
        if not row.shared:
            self.rows.append(row)
            for event in row.events:
                self.merged[event.single] += event.count

    def total(self, until: float = math.inf) -> list[GaussianEvent]:
        """Everything released up to an entry's number, equal events counted together."""
        if math.isinf(until):
            return [event.times(count) for event, count in self.merged.items()]
        return [event for row in self.rows if row.sequence <= until for event in row.events]

    def of(self, requester: str, since: float = -math.inf) -> list[GaussianEvent]:
        """What one requester got after ``since`` (seconds of the epoch)."""
        rows = self.by_requester.get(requester, [])
        return [event for row in rows if row.time > since for event in row.events]


def check_requester(
    used: Account, limits: Limits, requester: str, events: Sequence[GaussianEvent], delta: float, now: float
) -> None:
    """Raise BudgetExceeded when ``events`` bring the requester over its limit."""
    if limits.per_requester is not None:
        since = -math.inf if limits.window_s is None else now - limits.window_s
        _check(used.of(requester, since), events, limits.per_requester, delta)


def check_total(
    accounts: dict[str, Account],
    data_version: str,
    limits: Limits,
    events: Sequence[GaussianEvent],
    delta: float,
) -> Spend:
    """What the data version's total becomes with ``events``. Raises BudgetExceeded when a limit forbids
    it."""
    if limits.lifetime is not None:
        everything = [event for used in accounts.values() for event in used.total()]
        _check(everything, events, limits.lifetime, delta)
    return _check(accounts.get(data_version, Account()).total(), events, limits.total, delta)


def _check(
    before: Sequence[GaussianEvent], events: Sequence[GaussianEvent], limit: float, delta: float
) -> Spend:
    after = account([*before, *events], delta)
    if after.epsilon > limit:
        raise BudgetExceeded(after.epsilon, account(before, delta).epsilon, limit, delta)
    return after
