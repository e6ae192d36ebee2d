"""What a ledger tells its owner: statements of account, and the report of a verification."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from ecos_core.privacy import chain
from ecos_core.privacy.accounting import Spend, account
from ecos_core.privacy.book import statement_row
from ecos_core.privacy.budget import StatementRow
from ecos_core.privacy.counter import Mark
from ecos_core.privacy.events import GaussianEvent

START = Mark(0, chain.GENESIS_HASH)


@dataclass(frozen=True)
class Statement:
    """Spent and allowed for one data version, by one requester or (None) all of them.

    ``events`` holds what was charged: answers shared with a second requester are in its statement only. With
    a refresh window ``epsilon_spent`` of a requester is what counts in the window now.
    """

    data_version: str | None
    requester: str | None
    events: tuple[StatementRow, ...]
    epsilon_spent: float
    epsilon_autodp: float
    epsilon_limit: float
    delta: float


@dataclass(frozen=True)
class VerifyReport:
    """What was proved: entries and answers re-hashed, counter matched, spending re-accounted by data
    version."""

    entries: int
    releases: int
    counter: int
    head: str
    spends: dict[str, Spend]


def verify_chain(connection: sqlite3.Connection, where: str, delta: float) -> VerifyReport:
    """Re-hash every entry and answer and re-account every data version with all accountants.

    Raises IntegrityError at the first thing that is not as recorded, AccountantsDisagree.
    """
    entries = releases = 0
    last = START
    released: dict[str, list[GaussianEvent]] = {}
    for entry in chain.entries_after(connection, START, where):
        entries, last = entries + 1, entry.mark
        if entry.body["kind"] == "release":
            releases += 1
            chain.stored_answer(connection, entry, where)
            released.setdefault(entry.body["data_version"], []).extend(statement_row(entry).events)
    spends = {version: account(events, delta) for version, events in released.items()}
    return VerifyReport(entries, releases, last.sequence, last.chain_hash, spends)


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
