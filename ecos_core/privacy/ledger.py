"""The client's privacy ledger: nothing leaves that was not spent, durably, before its first byte.

One ``BEGIN IMMEDIATE`` transaction looks up the stored answer, checks the budget, computes the answer,
appends the events to a hash chain and commits with an fsync; then a counter in a file of its own is
advanced; only then the answer is returned. Killed anywhere, what was released was spent. Events are
stored, never epsilons, so that a better accountant can be run over the past. Safe for several threads and
processes on one machine.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy import chain
from ecos_core.privacy.accounting import MIN_DELTA, Spend, account
from ecos_core.privacy.book import Book, rolled_back
from ecos_core.privacy.budget import Account, Limits, check_requester, check_total
from ecos_core.privacy.chain import Entry
from ecos_core.privacy.counter import Mark, advance_mark, read_mark
from ecos_core.privacy.database import Database, found_database
from ecos_core.privacy.events import Adjacency, GaussianEvent, histogram_event
from ecos_core.privacy.filesystem import refuse_network_filesystem
from ecos_core.privacy.statement import Statement, VerifyReport, largest, verify_chain

DATABASE_NAME = "ledger.sqlite"
COUNTER_NAME = "ledger.counter"
MAX_ANSWERS_COUNTED = 1_000_000


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that may be sent: it is in the ledger.

    Attributes:
        answer: the bytes to send, the same for every repeat of the request.
        sequence: number of the entry that the answer belongs to.
        replayed: True when it was stored before and cost the data nothing now.
        spend: total of the data version, over all requesters.
        counter: the ledger's counter: the highest sequence number in it.
        chain_hash: hash of the answer's entry, 64 hex digits.
    """

    answer: bytes
    sequence: int
    replayed: bool
    spend: Spend
    counter: int
    chain_hash: str


class Ledger:
    """One ledger folder. Make it with ``create``, use it with ``open``; every process opens its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = Database(folder / DATABASE_NAME)
        self._counter = folder / COUNTER_NAME
        self._lock = threading.RLock()
        self._book = Book()

    @property
    def limits(self) -> Limits:
        """The limits as last read from the chain."""
        return self._book.limits

    @property
    def delta(self) -> float:
        """The delta of every epsilon in this ledger, fixed when it was made."""
        return self._book.delta

    @property
    def head(self) -> Mark:
        """The last entry: its number and the chain's hash after it."""
        self._refresh()
        return self._book.seen

    @classmethod
    def create(cls, folder: Path, limits: Limits, delta: float) -> Ledger:
        """Make an empty ledger in ``folder``. Raises InputError when one is there, on a network file
        system, or on a delta out of 1e-10..1."""
        if not MIN_DELTA <= delta < 1.0:
            raise InputError(f"delta must be at least {MIN_DELTA:g} and below 1, got {delta:g}")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_network_filesystem(folder)
        ledger = cls(folder)
        # A counter at 1 without a database is a creation that was cut short.
        known = read_mark(ledger._counter).sequence if ledger._counter.exists() else 0
        if ledger._database.path.exists() or known > 1:
            raise InputError(f"{folder}: holds a ledger already; one is never started anew over an old one")
        ledger._counter.unlink(missing_ok=True)
        body = {"kind": "open", "time": ledger._book.now(), "delta": delta, "limits": asdict(limits)}
        found_database(ledger._database.path, body, before_it_exists=partial(advance_mark, ledger._counter))
        ledger._refresh()
        return ledger

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open and check a ledger: schema (an older one is migrated), chain, counter.

        Raises InputError when there is none, it is on a network file system or from a newer version;
        IntegrityError when the chain is broken, the counter is missing, or the database was rolled back.
        """
        ledger = cls(folder)
        path = ledger._database.path
        if not path.exists():
            raise InputError(f"{folder}: no ledger here; make one with  ecos client init")
        refuse_network_filesystem(folder)
        mark = read_mark(ledger._counter)
        with ledger._database.reading() as connection:
            version = chain.schema_version(connection)
            if version == 0:
                raise rolled_back(path, mark, None)
        if version != chain.SCHEMA_VERSION:
            with ledger._database.writing() as connection:
                chain.migrate(connection, str(path))
        ledger._refresh()
        # A crash after a commit leaves the counter behind: it catches up.
        advance_mark(ledger._counter, ledger._book.seen)
        return ledger

    def spend(
        self,
        request_digest: str,
        requester: str,
        data_version: str,
        operation: str,
        events: Sequence[GaussianEvent],
        answer: Callable[[], bytes],
    ) -> StoredAnswer:
        """Answer a request once and for all: spend its events, store ``answer()``, commit, then return it.

        ``answer`` runs inside the transaction, after the budget is checked and before anything is
        written, so it may draw the noise first and read the data second. What it raises is passed on and
        nothing is spent. The same ``request_digest`` on the same ``data_version`` gets the stored bytes,
        for nothing; a second requester who asks it is charged on its own account but not on the total.

        Raises BudgetExceeded, InputError (no events, another adjacency than before),
        LedgerUnavailableError (disk), AccountantsDisagree, IntegrityError when the ledger was tampered
        with while open. Nothing was spent then.
        """
        if not events:
            raise InputError("a release must declare at least one privacy event")
        body = {
            "request_digest": request_digest,
            "requester": requester,
            "data_version": data_version,
            "operation": operation,
            "events": [event.to_dict() for event in events],
        }
        with self._lock, self._database.writing() as connection:
            self._catch_up(connection)
            if stored := chain.find(connection, data_version, request_digest, "release"):
                entry, spend = stored[0], account(self._book.accounts[data_version].total(), self.delta)
                answered = chain.stored_answer(connection, entry, str(self._database.path))
                self._share(connection, entry, body, events)
            else:
                spend = self._check_budget(requester, data_version, events)
                answered = bytes(answer())
                entry = self._append(connection, "release", {**body, "answer_sha256": chain.digest(answered)})
                chain.store_answer(connection, entry.sequence, answered)
            counter = chain.head(connection)
        self._committed(counter)
        return StoredAnswer(answered, entry.sequence, bool(stored), spend, counter.sequence, entry.chain_hash)

    def set_limits(self, limits: Limits) -> None:
        """Change the limits; the change is an entry of the chain."""
        with self._lock, self._database.writing() as connection:
            self._catch_up(connection)
            entry = self._append(connection, "limits", {"limits": asdict(limits)})
        self._committed(entry.mark)
        self._refresh()

    def check(self, requester: str, data_version: str, events: Sequence[GaussianEvent]) -> Spend:
        """What the data version's total would become; nothing is spent. Raises what ``spend`` would."""
        self._refresh()
        return self._check_budget(requester, data_version, events)

    def total_at(self, data_version: str, sequence: int) -> Spend:
        """What the data version had spent, over all requesters, when the entry ``sequence`` was written."""
        self._refresh()
        used = self._book.accounts.get(data_version, Account())
        return account(used.total(sequence), self.delta)

    def statement(self, requester: str | None = None, data_version: str | None = None) -> Statement:
        """Events, spent and allowed of one data version (the newest used, by default), by one requester
        or all."""
        self._refresh()
        version = data_version or self._book.newest_version
        used = self._book.accounts.get(version or "", Account())
        if requester is None:
            rows, events, limit = used.rows, used.total(), self.limits.total
        else:
            since = self._book.now() - self.limits.window_s if self.limits.window_s else -math.inf
            rows, events = used.by_requester.get(requester, []), used.of(requester, since)
            limit = self.limits.requester_limit
        spend = account(events, self.delta)
        return Statement(
            version, requester, tuple(rows), spend.epsilon, spend.epsilon_autodp, limit, self.delta
        )

    def answers_left(
        self,
        sigma: float,
        *,
        adjacency: Adjacency = Adjacency.ADD_REMOVE,
        gamma: float = 1.0,
        requester: str | None = None,
        data_version: str | None = None,
    ) -> int:
        """How many more histograms at this sigma the limits allow, up to a million.

        For one requester, or for all of them together. Raises InputError on another adjacency than was used.
        """
        self._refresh()
        version = data_version or self._book.newest_version or ""

        def allowed(count: int) -> bool:
            try:
                self._check_budget(requester, version, [histogram_event(sigma, adjacency, gamma, count)])
            except BudgetExceeded:
                return False
            return True

        return largest(allowed, MAX_ANSWERS_COUNTED)

    def verify(self) -> VerifyReport:
        """Re-hash every entry and answer, compare with the counter, re-account the past with both
        accountants.

        Raises IntegrityError at the first thing that is not as recorded, AccountantsDisagree.
        """
        with self._database.reading() as connection:
            self._check_counter(connection)
            return verify_chain(connection, str(self._database.path), self.delta)

    def entry(self, sequence: int) -> Entry | None:
        """One link of the chain; None where the chain does not reach."""
        self._refresh()
        with self._database.reading() as connection:
            return chain.at(connection, sequence)

    def close(self) -> None:
        """Close this thread's connection."""
        self._database.close()

    def _check_budget(
        self, requester: str | None, data_version: str, events: Sequence[GaussianEvent]
    ) -> Spend:
        book = self._book
        if requester is not None:
            used = book.accounts.get(data_version, Account())
            check_requester(used, book.limits, requester, events, book.delta, book.now())
        return check_total(book.accounts, data_version, book.limits, events, book.delta)

    def _share(
        self,
        connection: sqlite3.Connection,
        entry: Entry,
        body: dict[str, Any],
        events: Sequence[GaussianEvent],
    ) -> None:
        """Charge a stored answer to a requester who did not have it, on its own account only."""
        requester, version = body["requester"], body["data_version"]
        known = chain.find(connection, version, body["request_digest"], "shared")
        if requester in {found.body["requester"] for found in (entry, *known)}:
            return
        used = self._book.accounts[version]
        check_requester(used, self.limits, requester, events, self.delta, self._book.now())
        self._append(connection, "shared", {**body, "answer_of": entry.sequence})

    def _append(self, connection: sqlite3.Connection, kind: str, body: dict[str, Any]) -> Entry:
        return chain.append(connection, {"kind": kind, "time": self._book.now(), **body})

    def _committed(self, mark: Mark) -> None:
        """After the commit, before the answer leaves."""
        with self._lock:
            self._book.commit(mark)
        advance_mark(self._counter, mark)

    def _refresh(self) -> None:
        with self._lock, self._database.reading() as connection:
            self._catch_up(connection)

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        self._book.read(connection, self._database.path)
        self._check_counter(connection)

    def _check_counter(self, connection: sqlite3.Connection) -> None:
        """The database must hold the entry that the counter names: else it was rolled back or replaced."""
        mark = read_mark(self._counter)
        found = chain.hash_of(connection, mark.sequence)
        if found != mark.chain_hash:
            raise rolled_back(self._database.path, mark, found)
