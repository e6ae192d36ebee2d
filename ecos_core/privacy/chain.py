"""The ledger's entries: canonical JSON bodies, hash-chained, in one SQLite table.

An entry's hash is sha256(previous hash + body), so that no entry can be changed, dropped, added or moved
without breaking the chain. The columns that are searched are generated from the body: they cannot differ
from it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ecos_core.errors import InputError, IntegrityError
from ecos_core.privacy.counter import Mark

SCHEMA_VERSION = 3
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

# Version 2: answers that are shared with a second requester are looked up by request, too.
SCHEMA_V2 = "CREATE INDEX by_request ON entries (data_version, request_digest, kind)"

# Version 3: entries may name cohorts, which a version that does not know them would undercharge.
SCHEMA_V3 = ""

# version: what brings a ledger from the version before to it.
MIGRATIONS: dict[int, str] = {1: SCHEMA_V1, 2: SCHEMA_V2, 3: SCHEMA_V3}


@dataclass(frozen=True)
class Entry:
    """One link of the chain."""

    sequence: int
    body: Mapping[str, Any]
    chain_hash: str

    @property
    def mark(self) -> Mark:
        """Its place and hash, as a client's witness keeps them."""
        return Mark(self.sequence, self.chain_hash)


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces: equal bodies give equal bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def link(previous_hash: str, body: str) -> str:
    """sha256 over the previous entry's hash and this one's body, 64 hex digits."""
    return hashlib.sha256(previous_hash.encode() + b"\n" + body.encode()).hexdigest()


def migrate(connection: sqlite3.Connection, where: str) -> None:
    """Bring an empty or older database to the newest version. Runs inside the caller's transaction.

    Raises InputError on a newer version.
    """
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise InputError(f"{where}: written by a newer version of ecos (schema {version}): upgrade ecos")
    for step in range(version + 1, SCHEMA_VERSION + 1):
        for statement in filter(str.strip, MIGRATIONS[step].split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {step}")


def schema_version(connection: sqlite3.Connection) -> int:
    """0 for an empty database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def hash_of(connection: sqlite3.Connection, sequence: int) -> str | None:
    """Hash of an entry; None without one."""
    row = connection.execute("SELECT hash FROM entries WHERE sequence = ?", (sequence,)).fetchone()
    return str(row[0]) if row else None


def at(connection: sqlite3.Connection, sequence: int) -> Entry | None:
    """The entry of that number; None without one."""
    row = connection.execute("SELECT body, hash FROM entries WHERE sequence = ?", (sequence,)).fetchone()
    return Entry(sequence, json.loads(row[0]), row[1]) if row else None


def find(connection: sqlite3.Connection, data_version: str, request_digest: str, kind: str) -> list[Entry]:
    """The entries of one request, in order."""
    rows = connection.execute(
        "SELECT sequence, body, hash FROM entries WHERE data_version = ? AND request_digest = ? AND kind = ? "
        "ORDER BY sequence",
        (data_version, request_digest, kind),
    )
    return [Entry(sequence, json.loads(body), found) for sequence, body, found in rows]


def store_answer(connection: sqlite3.Connection, sequence: int, answer: bytes) -> None:
    """Keep the bytes of an entry's answer. Runs inside the caller's transaction."""
    connection.execute("INSERT INTO answers (sequence, answer) VALUES (?, ?)", (sequence, answer))


def stored_answer(connection: sqlite3.Connection, entry: Entry, where: str) -> bytes:
    """The bytes of an entry's answer. Raises IntegrityError unless they are those whose digest was
    chained."""
    row = connection.execute("SELECT answer FROM answers WHERE sequence = ?", (entry.sequence,)).fetchone()
    found = digest(row[0]) if row else "no answer"
    if found != entry.body["answer_sha256"]:
        raise IntegrityError(f"{where}, answer {entry.sequence}", entry.body["answer_sha256"], found)
    return bytes(row[0])


def digest(answer: bytes) -> str:
    """sha256, 64 hex digits."""
    return hashlib.sha256(answer).hexdigest()


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
