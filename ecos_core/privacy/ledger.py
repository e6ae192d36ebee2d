"""The client's privacy ledger: nothing leaves that was not spent, durably, before its first byte.

One ``BEGIN IMMEDIATE`` transaction looks up the stored answer, checks the budget, computes the answer,
appends the events to a hash chain and commits with an fsync; then a counter in a file of its own is
advanced; only then the answer is returned. Killed anywhere, what was released was spent. Events are
stored, never epsilons, so that a better accountant can be run over the past. Safe for several threads and
processes on one machine.

Records are accounted for by *cohort*: those that joined together. A release names the cohorts in it and charges
each; one that it would bring over a limit is left out of it, and the others are answered about. Without cohorts a
data version is one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy import chain
from ecos_core.privacy.accounting import Spend, check_delta
from ecos_core.privacy.book import Book, cohorts_in, rolled_back
from ecos_core.privacy.budget import Limits
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
        spend: what a record of the cohorts asked for has paid at most, over all requesters.
        cohorts: those whose records are in the answer.
        left_out: those that were asked for and are not, since a limit forbids it.
        parts: how many independent noises are in the answer.
        counter: the ledger's counter: the highest sequence number in it.
        chain_hash: hash of the answer's entry, 64 hex digits.
    """

    answer: bytes
    sequence: int
    replayed: bool
    spend: Spend
    cohorts: tuple[str, ...]
    left_out: tuple[str, ...]
    parts: int
    counter: int
    chain_hash: str


@dataclass(frozen=True)
class Part:
    """What to compute an answer from: the records of ``cohorts``, added to the answer ``before`` about the
    others (None: there is none)."""

    cohorts: tuple[str, ...]
    before: bytes | None = None


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
        check_delta(delta)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_network_filesystem(folder)
        ledger = cls(folder)
        # A counter at 1 without a database is a creation that was cut short.
        known = read_mark(ledger._counter).sequence if ledger._counter.exists() else 0
        if ledger._database.path.exists() or known > 1:
            raise InputError(f"{folder}: holds a ledger already; one is never started anew over an old one")
        ledger._counter.unlink(missing_ok=True)
        now = asdict(ledger._book.moment.next())
        body = {"kind": "open", **now, "delta": delta, "limits": asdict(limits)}
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
        answer: Callable[[Part], bytes],
        cohorts: Sequence[str] = (),
    ) -> StoredAnswer:
        """Answer a request once and for all: spend its events, store ``answer(part)``, commit, then return it.

        ``cohorts``: those that the data version holds now; without any it is one by itself. ``answer`` runs
        inside the transaction, after the budget is checked and before anything is written, so it may draw the
        noise first and read the data second. What it raises is passed on and nothing is spent. The same
        ``request_digest`` on the same ``data_version`` gets the stored bytes, for nothing, unless cohorts came
        since (or limits were raised): then those alone are asked and charged, and ``answer`` adds theirs to what
        is stored. A second requester who asks the same is charged on its own account but not on the total.

        Raises BudgetExceeded when no cohort has room, InputError (no events, another adjacency than before),
        LedgerUnavailableError (disk), IntegrityError when the ledger was tampered with while open. Nothing was
        spent then.
        """
        if not events:
            raise InputError("a release must declare at least one privacy event")
        asked = tuple(cohorts) or (data_version,)
        body = {
            "request_digest": request_digest,
            "requester": requester,
            "data_version": data_version,
            "operation": operation,
            "events": [event.to_dict() for event in events],
        }
        with self._lock, self._database.writing() as connection:
            self._catch_up(connection)
            known = [
                entry
                for kind in ("release", "extension")
                for entry in chain.find(connection, data_version, request_digest, kind)
            ]
            answered = {name for entry in known for name in cohorts_in(entry.body)}
            self._share(connection, known, body, events)
            part = self._part(
                connection, known, [name for name in asked if name not in answered], body, events
            )
            if part is not None:
                content = bytes(answer(part))
                details = {"cohorts": list(part.cohorts), "answer_sha256": chain.digest(content)}
                kind = "extension" if known else "release"
                known.append(self._append(connection, kind, {**body, **details}))
                chain.store_answer(connection, known[-1].sequence, content)
                answered.update(part.cohorts)
            else:
                content = chain.stored_answer(connection, known[-1], str(self._database.path))
            counter = chain.head(connection)
        self._committed(counter)
        self._refresh()
        held = tuple(name for name in asked if name in answered)
        left_out = tuple(name for name in asked if name not in answered)
        spend = self._book.spent(held, until=counter.sequence)
        sequence, chain_hash = known[-1].sequence, known[-1].chain_hash
        return StoredAnswer(
            content, sequence, part is None, spend, held, left_out, len(known), counter.sequence, chain_hash
        )

    def set_limits(self, limits: Limits) -> None:
        """Change the limits; the change is an entry of the chain."""
        with self._lock, self._database.writing() as connection:
            self._catch_up(connection)
            entry = self._append(connection, "limits", {"limits": asdict(limits)})
        self._committed(entry.mark)
        self._refresh()

    def check(
        self, requester: str, data_version: str, events: Sequence[GaussianEvent], cohorts: Sequence[str] = ()
    ) -> Spend:
        """What a record of the cohorts that a release would be about would then have paid at most; nothing is
        spent. Raises what ``spend`` would."""
        self._refresh()
        allowed = self._book.budget.room(tuple(cohorts) or (data_version,), requester, events)
        return self._book.spent(allowed, and_then=events)

    def total_at(self, data_version: str, sequence: int, cohorts: Sequence[str] = ()) -> Spend:
        """What a record of the cohorts had paid at most, over all requesters, when an entry was written."""
        self._refresh()
        return self._book.spent(tuple(cohorts) or (data_version,), until=sequence)

    def statement(
        self, requester: str | None = None, data_version: str | None = None, cohorts: Sequence[str] = ()
    ) -> Statement:
        """Events, spent and allowed of one data version (the newest used, by default), by one requester or
        all; of those cohorts of it, or of all that were ever asked."""
        self._refresh()
        version = data_version or self._book.newest_version
        rows = [
            row
            for row in self._book.rows.get(version or "", ())
            if (not row.shared if requester is None else row.requester == requester)
        ]
        names = tuple(cohorts) or tuple(self._book.cohorts.get(version or "", ()))
        by_cohort = {name: self._book.spent([name], requester).epsilon for name in names}
        limit = self.limits.total if requester is None else self.limits.requester_limit
        spent = max(by_cohort.values(), default=0.0)
        return Statement(version, requester, tuple(rows), spent, limit, self.delta, by_cohort)

    def answers_left(
        self,
        sigma: float,
        *,
        adjacency: Adjacency = Adjacency.ADD_REMOVE,
        gamma: float = 1.0,
        requester: str | None = None,
        data_version: str | None = None,
        cohorts: Sequence[str] = (),
    ) -> int:
        """How many more histograms at this sigma the limits allow about at least one cohort, up to a million.

        For one requester, or for all of them together. Raises InputError on another adjacency than was used.
        """
        self._refresh()
        version = data_version or self._book.newest_version or ""
        names = tuple(cohorts) or tuple(self._book.cohorts.get(version, ())) or (version,)
        budget = self._book.budget

        def allowed(count: int) -> bool:
            try:
                budget.room(names, requester, [histogram_event(sigma, adjacency, gamma, count)])
            except BudgetExceeded:
                return False
            return True

        return largest(allowed, MAX_ANSWERS_COUNTED)

    def verify(self) -> VerifyReport:
        """Re-hash every entry and answer, compare with the counter, re-account the past, with autodp too
        where it is installed. The time is linear in the entries.

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

    def _part(
        self,
        connection: sqlite3.Connection,
        known: Sequence[Entry],
        wanted: Sequence[str],
        body: dict[str, Any],
        events: Sequence[GaussianEvent],
    ) -> Part | None:
        """What is to be computed now; None when what is known is the answer."""
        try:
            allowed = self._book.budget.room(wanted, body["requester"], events)
        except BudgetExceeded:
            if not known:
                raise
            return None
        if not allowed:
            return None
        before = chain.stored_answer(connection, known[-1], str(self._database.path)) if known else None
        return Part(allowed, before)

    def _share(
        self,
        connection: sqlite3.Connection,
        known: Sequence[Entry],
        body: dict[str, Any],
        events: Sequence[GaussianEvent],
    ) -> None:
        """Charge stored answers to a requester who did not have them, on its own account only."""
        requester = body["requester"]
        shared = chain.find(connection, body["data_version"], body["request_digest"], "shared")
        had = {found.body["answer_of"] for found in shared if found.body["requester"] == requester}
        for entry in known:
            if entry.body["requester"] == requester or entry.sequence in had:
                continue
            cohorts = cohorts_in(entry.body)
            self._book.budget.check_requester(cohorts, requester, events)
            details = {"cohorts": list(cohorts), "answer_of": entry.sequence}
            self._append(connection, "shared", {**body, **details})

    def _append(self, connection: sqlite3.Connection, kind: str, body: dict[str, Any]) -> Entry:
        return chain.append(connection, {"kind": kind, **asdict(self._book.moment.next()), **body})

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
