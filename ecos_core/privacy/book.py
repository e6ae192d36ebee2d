"""What the chain says so far, read forward entry by entry: limits, delta, accounts, the clock."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from ecos_core.errors import IntegrityError
from ecos_core.privacy.budget import Account, Limits, StatementRow
from ecos_core.privacy.chain import GENESIS_HASH, Entry, entries_after, hash_of
from ecos_core.privacy.counter import Mark
from ecos_core.privacy.events import GaussianEvent


class Book:
    """A process's view of the ledger; ``read`` takes in what any process appended since."""

    def __init__(self) -> None:
        self.limits = Limits(total=1.0)
        self.delta = 0.0
        self.accounts: dict[str, Account] = {}
        self.newest_version: str | None = None
        self.seen = Mark(0, GENESIS_HASH)
        # The highest entry that is known to be committed: it must never be gone.
        self.committed = self.seen
        self._clock = 0.0

    def read(self, connection: sqlite3.Connection, where: Path) -> None:
        """Raises IntegrityError when the chain is broken, or what was seen before is no longer there."""
        found = hash_of(connection, self.committed.sequence)
        if self.committed.sequence and found != self.committed.chain_hash:
            raise rolled_back(where, self.committed, found)
        for entry in entries_after(connection, self.seen, str(where)):
            self._take(entry)
            self.commit(entry.mark)

    def commit(self, mark: Mark) -> None:
        """Note that the entry of ``mark`` is committed."""
        if mark.sequence > self.committed.sequence:
            self.committed = mark

    def now(self) -> float:
        """Seconds of the epoch, never before the last entry: setting the clock back refreshes no budget."""
        return max(time.time(), self._clock)

    def _take(self, entry: Entry) -> None:
        body = entry.body
        if body["kind"] == "open":
            self.delta = body["delta"]
        if body["kind"] in ("open", "limits"):
            self.limits = Limits(**body["limits"])
        if body["kind"] in ("release", "shared"):
            self.newest_version = body["data_version"]
            self.accounts.setdefault(body["data_version"], Account()).add(statement_row(entry))
        self._clock = max(self._clock, body["time"])
        self.seen = entry.mark


def statement_row(entry: Entry) -> StatementRow:
    """What a release's entry says."""
    body = entry.body
    return StatementRow(
        entry.sequence,
        body["time"],
        body["requester"],
        body["data_version"],
        body["operation"],
        tuple(GaussianEvent.from_dict(values) for values in body["events"]),
        body["kind"] == "shared",
    )


def rolled_back(where: Path, mark: Mark, found: str | None) -> IntegrityError:
    """The error for a database that lacks an entry which is known to have been there."""
    place = f"{where}: rolled back or replaced (entry {mark.sequence} was released)"
    return IntegrityError(place, mark.chain_hash, found or "no such entry")
