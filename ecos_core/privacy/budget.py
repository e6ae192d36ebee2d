"""How much may be spent and how much is: limits, the accounts of the cohorts, and the check before a release."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy.accounting import total_loss
from ecos_core.privacy.events import Adjacency, GaussianEvent, common_adjacency
from ecos_core.privacy.gaussian import Loss


@dataclass(frozen=True)
class Limits:
    """Epsilons at the ledger's delta.

    Attributes:
        total: hard limit for one cohort, over all requesters and for ever.
        per_requester: limit for one requester on one cohort; None: only the total counts.
        window_s: seconds after which a requester's spending no longer counts against ``per_requester``; the
            total is never refreshed.
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
        """What one requester may spend on one cohort."""
        return self.total if self.per_requester is None else min(self.per_requester, self.total)


@dataclass(frozen=True)
class StatementRow:
    """One charged release of ``cohorts``, at ``time`` (of the epoch) and ``age`` (of the ledger), in seconds.

    ``shared``: an answer that was stored before, given to a second requester: charged to that one, free for the
    total.
    """

    sequence: int
    time: float
    age: float
    requester: str
    data_version: str
    cohorts: tuple[str, ...]
    operation: str
    events: tuple[GaussianEvent, ...]
    shared: bool = False


@dataclass
class Running:
    """Losses in order, summed up to each: what they came to at a place, or after one, at the cost of a look."""

    places: list[float] = field(default_factory=list)
    sums: list[Loss] = field(default_factory=list)

    def add(self, place: float, loss: Loss) -> None:
        """Take one more loss in, of the release at ``place``."""
        self.sums.append(self.until() + loss)
        self.places.append(place)

    def until(self, place: float = math.inf) -> Loss:
        """What was added up to and at ``place``."""
        count = bisect_right(self.places, place)
        return self.sums[count - 1] if count else Loss()

    def after(self, place: float) -> Loss:
        """What was added behind ``place``."""
        return self.until() - self.until(place)


@dataclass
class Account:
    """What was released of one cohort: by entry number in all, and by the ledger's age for each requester."""

    adjacencies: set[Adjacency] = field(default_factory=set)
    total: Running = field(default_factory=Running)
    by_requester: defaultdict[str, Running] = field(default_factory=lambda: defaultdict(Running))

    def add(self, row: StatementRow, loss: Loss) -> None:
        """Charge a release to its requester and, unless it was only shared, to the total."""
        self.adjacencies.update(event.adjacency for event in row.events)
        self.by_requester[row.requester].add(row.age, loss)
        if not row.shared:
            self.total.add(row.sequence, loss)

    def of(self, requester: str, limits: Limits, age: float) -> Loss:
        """What counts against the requester's limit at ``age``."""
        spent = self.by_requester.get(requester, Running())
        return spent.until() if limits.window_s is None else spent.after(age - limits.window_s)


# What an account would come to, what it is at, and the limit between.
Refusal = tuple[Loss, Loss, float]


class Budget:
    """The limits and accounts as of one moment: which cohorts have room for a release.

    What it says depends on the ledger and the request alone.
    """

    def __init__(self, accounts: dict[str, Account], limits: Limits, delta: float, age: float) -> None:
        self._accounts, self._limits, self._delta, self._age = accounts, limits, delta, age

    def room(
        self, cohorts: Iterable[str], requester: str | None, events: Sequence[GaussianEvent]
    ) -> tuple[str, ...]:
        """The cohorts that stay within all limits. Raises BudgetExceeded, by the one nearest to it, when none
        does, and InputError when the events have another adjacency than before."""
        names = tuple(cohorts)
        loss = total_loss(events, self._delta)
        self._check_adjacency(names, events)
        found = [(name, self._refusal(name, requester, loss)) for name in names]
        allowed = tuple(name for name, refusal in found if refusal is None)
        refusals = [refusal for _, refusal in found if refusal is not None]
        if not allowed and refusals:
            raise self._exceeded(min(refusals, key=lambda refusal: refusal[0].square / refusal[2]))
        return allowed

    def check_requester(
        self, cohorts: Iterable[str], requester: str, events: Sequence[GaussianEvent]
    ) -> None:
        """Raise BudgetExceeded when an answer that is known brings the requester over its limit on one of
        the cohorts in it."""
        loss = total_loss(events, self._delta)
        for name in cohorts:
            if (refusal := self._over_requester(self._account(name), requester, loss)) is not None:
                raise self._exceeded(refusal)

    def _account(self, cohort: str) -> Account:
        return self._accounts.get(cohort) or Account()

    def _refusal(self, cohort: str, requester: str | None, loss: Loss) -> Refusal | None:
        used = self._account(cohort)
        refusal = self._over_requester(used, requester, loss) if requester is not None else None
        return refusal or self._over(used.total.until(), loss, self._limits.total)

    def _over_requester(self, used: Account, requester: str, loss: Loss) -> Refusal | None:
        if self._limits.per_requester is None:
            return None
        return self._over(used.of(requester, self._limits, self._age), loss, self._limits.per_requester)

    def _over(self, before: Loss, loss: Loss, limit: float) -> Refusal | None:
        after = before + loss
        return None if after.within(limit, self._delta) else (after, before, limit)

    def _exceeded(self, refusal: Refusal) -> BudgetExceeded:
        after, before, limit = refusal
        return BudgetExceeded(after.epsilon(self._delta), before.epsilon(self._delta), limit, self._delta)

    def _check_adjacency(self, cohorts: Sequence[str], events: Sequence[GaussianEvent]) -> None:
        asked = common_adjacency(events)
        for name in cohorts:
            if other := self._account(name).adjacencies - {asked}:
                raise InputError(
                    f"releases under different adjacencies ({', '.join(sorted(other))} before, {asked} now) have no "
                    "common epsilon: account each by itself"
                )
