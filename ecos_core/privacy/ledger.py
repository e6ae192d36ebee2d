"""The client's privacy ledger: nothing leaves that was not spent, durably, before its first byte.

One ``BEGIN IMMEDIATE`` transaction looks up the stored answer, checks the budget, computes the answer,
appends the events to a hash chain and commits with an fsync; then a counter in a file of its own is
advanced; only then the answer is returned. Killed anywhere, what was released was spent. Events are
stored, never epsilons, so that a better accountant can be run over the past. Safe for several threads and
processes on one machine.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecos_core.errors import EcosError, InputError, IntegrityError
from ecos_core.privacy import chain
from ecos_core.privacy.accounting import Spend, account
from ecos_core.privacy.budget import Account, Limits, check_budget
from ecos_core.privacy.chain import Entry
from ecos_core.privacy.counter import Mark, advance_mark, read_mark, sync_folder
from ecos_core.privacy.events import Adjacency, GaussianEvent, histogram_event
from ecos_core.privacy.filesystem import refuse_network_filesystem

DATABASE_NAME = "ledger.sqlite"
COUNTER_NAME = "ledger.counter"
BUSY_TIMEOUT_S = 120.0
MAX_ANSWERS_COUNTED = 1_000_000


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that may be sent: it is in the ledger.

    Attributes:
        answer: the bytes to send, the same for every repeat of the request.
        sequence: number of its entry.
        replayed: True when it was stored before and cost nothing now.
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


@dataclass(frozen=True)
class StatementRow:
    """One release in a statement."""

    sequence: int
    time: float
    requester: str
    data_version: str
    operation: str
    events: tuple[GaussianEvent, ...]


@dataclass(frozen=True)
class Statement:
    """Spent and allowed for one data version, by one requester or (None) all of them."""

    data_version: str | None
    requester: str | None
    events: tuple[StatementRow, ...]
    epsilon_spent: float
    epsilon_autodp: float
    epsilon_limit: float
    delta: float


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` proved: entries re-hashed, answers re-hashed, spending re-accounted by data version."""

    entries: int
    releases: int
    counter: int
    head: str
    spends: dict[str, Spend]


class Ledger:
    """One ledger folder. Make it with ``create``, use it with ``open``; every process opens its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = folder / DATABASE_NAME
        self._counter = folder / COUNTER_NAME
        self._local = threading.local()
        self._lock = threading.RLock()
        self._seen = Mark(0, chain.GENESIS_HASH)
        self._accounts: dict[str, Account] = {}
        self._newest_version: str | None = None
        self._clock = 0.0
        self.limits = Limits(total=1.0)
        self.delta = 0.0

    @classmethod
    def create(cls, folder: Path, limits: Limits, delta: float) -> Ledger:
        """Make an empty ledger in ``folder``. Raises InputError when one is there, or on a network file
        system."""
        if not 0.0 < delta < 1.0:
            raise InputError(f"delta must be between 0 and 1, both left out, got {delta:g}")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_network_filesystem(folder)
        ledger = cls(folder)
        if ledger._database.exists() or ledger._counter.exists():
            raise InputError(
                f"{folder}: holds a ledger already; a ledger is never started anew over an old one"
            )
        os.close(os.open(ledger._database, os.O_WRONLY | os.O_CREAT, 0o600))
        connection = ledger._connection()
        with _transaction(connection):
            chain.create_schema(connection)
            body = {"kind": "open", "time": time.time(), "delta": delta, "limits": asdict(limits)}
            entry = chain.append(connection, body)
        advance_mark(ledger._counter, entry.mark)
        sync_folder(folder)
        ledger._catch_up(connection)
        return ledger

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open and check a ledger: schema, chain, counter.

        Raises InputError when there is none, it is on a network file system or from a newer version;
        IntegrityError when the chain is broken, the counter is missing, or the database was rolled back
        behind it.
        """
        ledger = cls(folder)
        if not ledger._database.exists():
            raise InputError(f"{folder}: no ledger here; make one with  ecos client init")
        refuse_network_filesystem(folder)
        connection = ledger._connection()
        try:
            chain.migrate(connection, str(ledger._database))
            with _transaction(connection, "BEGIN"):
                ledger._catch_up(connection)
                ledger._check_counter(connection)
                mark = ledger._seen
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                str(ledger._database), "a ledger", f"an unreadable database ({error})"
            ) from error
        advance_mark(ledger._counter, mark)
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
        for nothing.

        Raises BudgetExceeded, InputError (no events, other adjacency than before), AccountantsDisagree, and
        IntegrityError when the ledger was tampered with while open. In all cases nothing was spent.
        """
        if not events:
            raise InputError("a release must declare at least one privacy event")
        connection = self._connection()
        with self._lock, _transaction(connection):
            self._catch_up(connection)
            self._check_counter(connection)
            if stored := self._stored(connection, request_digest, data_version):
                entry, answered, replayed = *stored, True
                before = self._accounts[data_version].events()
                spend = account(before, self.delta)
            else:
                # The clock never runs backwards here: a refresh window cannot be shortened by setting it
                # back.
                now = max(time.time(), self._clock)
                used = self._accounts.get(data_version, Account())
                spend = check_budget(used, self.limits, requester, events, delta=self.delta, now=now)
                answered, replayed = bytes(answer()), False
                entry = self._append_release(
                    connection,
                    {
                        "time": now,
                        "request_digest": request_digest,
                        "requester": requester,
                        "data_version": data_version,
                        "operation": operation,
                        "events": [event.to_dict() for event in events],
                    },
                    answered,
                )
            counter = chain.head(connection)
        advance_mark(self._counter, counter)
        return StoredAnswer(answered, entry.sequence, replayed, spend, counter.sequence, entry.chain_hash)

    def set_limits(self, limits: Limits) -> None:
        """Change the limits; the change is an entry of the chain."""
        connection = self._connection()
        with self._lock, _transaction(connection):
            self._catch_up(connection)
            self._check_counter(connection)
            body = {"kind": "limits", "time": max(time.time(), self._clock), "limits": asdict(limits)}
            entry = chain.append(connection, body)
            mark = entry.mark
        advance_mark(self._counter, mark)
        self._refresh()

    def statement(self, requester: str | None = None, data_version: str | None = None) -> Statement:
        """Events, spent and allowed of one data version (the newest used, by default), by one requester
        or all."""
        self._refresh()
        version = self._newest_version if data_version is None else data_version
        connection = self._connection()
        rows = [
            row
            for row in _release_rows(connection, self._database)
            if row.data_version == version and requester in (None, row.requester)
        ]
        spend = account([event for row in rows for event in row.events], self.delta)
        limit = self.limits.total if requester is None else self.limits.requester_limit
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
        """How many more histograms at this sigma the limits allow, up to a million."""
        self._refresh()
        version = self._newest_version if data_version is None else data_version
        used = self._accounts.get(version or "", Account())
        now = max(time.time(), self._clock)

        def allowed(count: int) -> bool:
            events = [histogram_event(sigma, adjacency, gamma, count)]
            try:
                check_budget(used, self.limits, requester or "", events, delta=self.delta, now=now)
            except EcosError:
                return False
            return True

        return _largest(allowed, MAX_ANSWERS_COUNTED)

    def verify(self) -> VerifyReport:
        """Re-hash every entry and answer, compare with the counter, re-account all spending with both
        accountants.

        Raises IntegrityError at the first thing that is not as recorded, AccountantsDisagree,
        BudgetExceeded never.
        """
        import hashlib

        connection = self._connection()
        with _transaction(connection, "BEGIN"):
            entries = releases = 0
            accounts: dict[str, list[GaussianEvent]] = {}
            last = Mark(0, chain.GENESIS_HASH)
            for entry in chain.entries_after(connection, last, str(self._database)):
                entries, last = entries + 1, entry.mark
                if entry.body["kind"] != "release":
                    continue
                releases += 1
                row = connection.execute(
                    "SELECT answer FROM answers WHERE sequence = ?", (entry.sequence,)
                ).fetchone()
                found = hashlib.sha256(row[0]).hexdigest() if row else "no answer"
                if found != entry.body["answer_sha256"]:
                    where = f"{self._database}, answer {entry.sequence}"
                    raise IntegrityError(where, entry.body["answer_sha256"], found)
                accounts.setdefault(entry.body["data_version"], []).extend(_events_of(entry.body))
            self._check_counter(connection)
        spends = {version: account(events, self.delta) for version, events in accounts.items()}
        return VerifyReport(entries, releases, last.sequence, last.chain_hash, spends)

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _append_release(self, connection: sqlite3.Connection, body: dict[str, Any], answer: bytes) -> Entry:
        import hashlib

        body = {"kind": "release", **body, "answer_sha256": hashlib.sha256(answer).hexdigest()}
        entry = chain.append(connection, body)
        connection.execute("INSERT INTO answers (sequence, answer) VALUES (?, ?)", (entry.sequence, answer))
        return entry

    def _stored(
        self, connection: sqlite3.Connection, request_digest: str, data_version: str
    ) -> tuple[Entry, bytes] | None:
        row = connection.execute(
            "SELECT e.sequence, e.body, e.hash, a.answer FROM entries e JOIN answers a USING (sequence) "
            "WHERE e.kind = 'release' AND e.data_version = ? AND e.request_digest = ?",
            (data_version, request_digest),
        ).fetchone()
        if row is None:
            return None
        import json

        return Entry(row[0], json.loads(row[1]), row[2]), row[3]

    def _refresh(self) -> None:
        connection = self._connection()
        with self._lock, _transaction(connection, "BEGIN"):
            self._catch_up(connection)

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Take in the entries that this or another process appended since the last look."""
        for entry in chain.entries_after(connection, self._seen, str(self._database)):
            body = entry.body
            if body["kind"] == "open":
                self.delta = body["delta"]
            if body["kind"] in ("open", "limits"):
                self.limits = Limits(**body["limits"])
            if body["kind"] == "release":
                self._newest_version = body["data_version"]
                used = self._accounts.setdefault(body["data_version"], Account())
                used.add(body["time"], body["requester"], _events_of(body))
            self._clock = max(self._clock, body["time"])
            self._seen = entry.mark

    def _check_counter(self, connection: sqlite3.Connection) -> None:
        """The database must hold the entry that the counter names: else it was rolled back or replaced."""
        mark = read_mark(self._counter)
        row = connection.execute("SELECT hash FROM entries WHERE sequence = ?", (mark.sequence,)).fetchone()
        if row is None or row[0] != mark.chain_hash:
            where = f"{self._database}: rolled back or replaced (its counter names entry {mark.sequence})"
            raise IntegrityError(where, mark.chain_hash, row[0] if row else "no such entry")

    def _connection(self) -> sqlite3.Connection:
        """This thread's and process's own connection."""
        if getattr(self._local, "process", None) != os.getpid():
            connection = sqlite3.connect(self._database, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection, self._local.process = connection, os.getpid()
        found: sqlite3.Connection = self._local.connection
        return found


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _events_of(body: Any) -> tuple[GaussianEvent, ...]:
    return tuple(GaussianEvent.from_dict(values) for values in body["events"])


def _release_rows(connection: sqlite3.Connection, where: Path) -> Iterator[StatementRow]:
    for entry in chain.entries_after(connection, Mark(0, chain.GENESIS_HASH), str(where)):
        body = entry.body
        if body["kind"] == "release":
            yield StatementRow(
                entry.sequence,
                body["time"],
                body["requester"],
                body["data_version"],
                body["operation"],
                _events_of(body),
            )


def _largest(allowed: Callable[[int], bool], most: int) -> int:
    """The largest count up to ``most`` for which ``allowed`` holds; 0 when not even one."""
    if not allowed(1):
        return 0
    low, high = 1, 2
    while high < most and allowed(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
