"""What a ledger tells its owner: statements of account, and the report of a verification."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ecos_core.privacy import chain
from ecos_core.privacy.accounting import autodp_is_here, epsilon_charged, witnessed
from ecos_core.privacy.book import CHARGED, statement_row
from ecos_core.privacy.budget import StatementRow
from ecos_core.privacy.counter import Mark
from ecos_core.privacy.events import GaussianEvent, merge_events

START = Mark(0, chain.GENESIS_HASH)


@dataclass(frozen=True)
class Statement:
    """Spent and allowed for one data version, by one requester or (None) all of them.

    ``events`` holds what was charged: answers shared with a second requester are in its statement only.
    ``epsilon_by_cohort``: what each record of a cohort paid; ``epsilon_spent`` is the largest. With a refresh
    window a requester's are what counts in the window now.
    """

    data_version: str | None
    requester: str | None
    events: tuple[StatementRow, ...]
    epsilon_spent: float
    epsilon_limit: float
    delta: float
    epsilon_by_cohort: dict[str, float]


@dataclass(frozen=True)
class VerifiedSpend:
    """What was charged to a record of one cohort, and autodp's word on the same releases (None: not
    installed)."""

    epsilon: float
    epsilon_autodp: float | None


@dataclass(frozen=True)
class VerifyReport:
    """What was proved: entries and answers re-hashed, counter matched, spending re-accounted by cohort."""

    entries: int
    releases: int
    counter: int
    head: str
    spends: dict[str, VerifiedSpend]


def verify_chain(connection: sqlite3.Connection, where: str, delta: float) -> VerifyReport:
    """Re-hash every entry and answer and re-account every cohort.

    Raises IntegrityError at the first thing that is not as recorded, AccountantsDisagree.
    """
    entries = releases = 0
    last = START
    released: dict[str, list[GaussianEvent]] = {}
    for entry in chain.entries_after(connection, START, where):
        entries, last = entries + 1, entry.mark
        if entry.body["kind"] in CHARGED and entry.body["kind"] != "shared":
            releases += 1
            chain.stored_answer(connection, entry, where)
            row = statement_row(entry)
            for cohort in row.cohorts:
                released.setdefault(cohort, []).extend(row.events)
    # Cohorts that joined together were asked the same: each such past is priced once.
    pasts = {cohort: merge_events(events) for cohort, events in released.items()}
    prices = {past: _price(past, delta) for past in set(pasts.values())}
    spends = {cohort: prices[past] for cohort, past in pasts.items()}
    return VerifyReport(entries, releases, last.sequence, last.chain_hash, spends)


def _price(events: Sequence[GaussianEvent], delta: float) -> VerifiedSpend:
    return VerifiedSpend(
        epsilon_charged(events, delta), witnessed(events, delta) if autodp_is_here() else None
    )


def largest(allowed: Callable[[int], bool], most: int) -> int:
    """The largest count up to ``most`` for which ``allowed`` holds; 0 when not even one."""
    if not allowed(1):
        return 0
    low, high = 1, 2
    while high <= most and allowed(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
