"""SQLite as a ledger needs it: write-ahead log, an fsync at every commit, one connection a thread and
process."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from ecos_core.errors import EcosError, IntegrityError, RemoteError
from ecos_core.privacy import chain
from ecos_core.privacy.counter import Mark, sync_folder
from ecos_core.privacy.filesystem import LedgerUnavailableError

BUSY_TIMEOUT_S = 120.0


class Database:
    """One SQLite file; safe to share between threads, and re-opened after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    @contextmanager
    def transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed durably at the end or rolled back by any exception.

        Raises LedgerUnavailableError on a full or read-only disk, RemoteError (retryable) when other
        processes hold the lock for two minutes, IntegrityError on a damaged file.
        """
        try:
            connection = self._connection()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A snapshot of what is committed."""
        return self.transaction("BEGIN")

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """The one writer, from the first statement on."""
        return self.transaction("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = self._local.process = None

    def _connection(self) -> sqlite3.Connection:
        if getattr(self._local, "process", None) != os.getpid():
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection, self._local.process = connection, os.getpid()
        found: sqlite3.Connection = self._local.connection
        return found

    def _explained(self, error: sqlite3.Error) -> EcosError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return RemoteError("other requests hold the client's ledger; ask again later", retryable=True)
        if code in (
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_IOERR,
        ):
            return LedgerUnavailableError(self.path, error)
        return IntegrityError(str(self.path), "a ledger", f"an unreadable database ({error})")


def found_database(path: Path, first: Mapping[str, Any], *, before_it_exists: Callable[[Mark], None]) -> None:
    """Make a ledger's database with its ``first`` entry under another name, then give it its own.

    ``before_it_exists`` is called with the entry's mark in between: cut short, there is no database.
    """
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        chain.migrate(connection, str(path))
        entry = chain.append(connection, first)
        connection.execute("COMMIT")
    before_it_exists(entry.mark)
    new.replace(path)
    sync_folder(path.parent)
