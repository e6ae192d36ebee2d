"""The ledger's entries: canonical JSON bodies, hash-chained, in one SQLite table.

An entry's hash is sha256(previous hash + body), so that no entry can be changed, dropped, added or moved
without breaking the chain. The columns that are searched are generated from the body: they cannot differ
from it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ecos_core.errors import InputError, IntegrityError
from ecos_core.privacy.counter import Mark

SCHEMA_VERSION = 1
GENESIS_HASH = "0" * 64

SCHEMA_V1 = """
CREATE TABLE entries (
  sequence INTEGER PRIMARY KEY,
  body TEXT NOT NULL,
  hash TEXT NOT NULL,
  kind TEXT GENERATED ALWAYS AS (json_extract(body, '$.kind')) VIRTUAL,
  data_version TEXT GENERATED ALWAYS AS (json_extract(body, '$.data_version')) VIRTUAL,
  requester TEXT GENERATED ALWAYS AS (json_extract(body, '$.requester')) VIRTUAL,
  request_digest TEXT GENERATED ALWAYS AS (json_extract(body, '$.request_digest')) VIRTUAL
) STRICT;
CREATE UNIQUE INDEX one_release_a_request ON entries (data_version, request_digest) WHERE kind = 'release';
CREATE TABLE answers (
  sequence INTEGER PRIMARY KEY REFERENCES entries (sequence),
  answer BLOB NOT NULL
) STRICT;
"""

# version: what brings a ledger from the version before to it.
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}


@dataclass(frozen=True)
class Entry:
    """One link of the chain."""

    sequence: int
    body: Mapping[str, Any]
    chain_hash: str

    @property
    def mark(self) -> Mark:
        return Mark(self.sequence, self.chain_hash)


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces: equal bodies give equal bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def link(previous_hash: str, body: str) -> str:
    """sha256 over the previous entry's hash and this one's body, 64 hex digits."""
    return hashlib.sha256(previous_hash.encode() + b"\n" + body.encode()).hexdigest()


def create_schema(connection: sqlite3.Connection) -> None:
    """Lay out an empty ledger at the newest version. Runs inside the caller's transaction."""
    for statement in SCHEMA_V1.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def migrate(connection: sqlite3.Connection, where: str) -> None:
    """Bring an older ledger to the newest version, one durable step at a time. Raises InputError on a
    newer one."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise InputError(f"{where}: written by a newer version of ecos (schema {version}): upgrade ecos")
    if version < 1:
        raise IntegrityError(where, "a ledger", "a database without a ledger's schema")
    for step in range(version + 1, SCHEMA_VERSION + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] < step:
                MIGRATIONS[step](connection)
                connection.execute(f"PRAGMA user_version = {step}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def head(connection: sqlite3.Connection) -> Mark:
    """The last link; (0, zeros) of an empty chain."""
    row = connection.execute("SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1").fetchone()
    return Mark(*row) if row else Mark(0, GENESIS_HASH)


def append(connection: sqlite3.Connection, body: Mapping[str, Any]) -> Entry:
    """Add the next link. Runs inside the caller's transaction."""
    last = head(connection)
    text = canonical(body)
    entry = Entry(last.sequence + 1, body, link(last.chain_hash, text))
    connection.execute(
        "INSERT INTO entries (sequence, body, hash) VALUES (?, ?, ?)",
        (entry.sequence, text, entry.chain_hash),
    )
    return entry


def entries_after(connection: sqlite3.Connection, last: Mark, where: str) -> Iterator[Entry]:
    """The entries that follow ``last``, each checked to link to the one before. Raises IntegrityError."""
    rows = connection.execute(
        "SELECT sequence, body, hash FROM entries WHERE sequence > ? ORDER BY sequence", (last.sequence,)
    )
    for sequence, body, found in rows:
        if sequence != last.sequence + 1:
            raise IntegrityError(
                f"{where}, entry {last.sequence + 1}", "an entry", f"number {sequence} instead"
            )
        expected = link(last.chain_hash, body)
        if expected != found:
            raise IntegrityError(f"{where}, entry {sequence}: the chain is broken here", expected, found)
        yield Entry(sequence, json.loads(body), found)
        last = Mark(sequence, found)
