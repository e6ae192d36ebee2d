"""A monotonic counter in a file of its own, beside the ledger's database.

It is advanced *after* a commit and *before* the answer leaves. So at rest the database is at the counter
or, after a crash between the two writes, ahead of it: never behind. A database behind its counter was
rolled back.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ecos_core.errors import IntegrityError
from ecos_core.privacy.filesystem import disk_errors


@dataclass(frozen=True)
class Mark:
    """The highest sequence number that was ever released, and the hash of its entry."""

    sequence: int
    chain_hash: str


def read_mark(path: Path) -> Mark:
    """Raises IntegrityError when the file is missing or damaged, LedgerUnavailableError when the disk
    fails."""
    try:
        with disk_errors(path):
            values = json.loads(path.read_bytes())
        return Mark(int(values["sequence"]), str(values["chain_hash"]))
    except FileNotFoundError as error:
        raise IntegrityError(str(path), "the ledger's counter", "no file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(str(path), "a counter", "an unreadable file") from error


def advance_mark(path: Path, mark: Mark) -> None:
    """Write ``mark`` durably unless a higher one is there: several processes may race here.

    Raises LedgerUnavailableError when the disk refuses: then nothing may be sent.
    """
    with disk_errors(path), _locked(path):
        if path.exists() and read_mark(path).sequence >= mark.sequence:
            return
        data = json.dumps({"chain_hash": mark.chain_hash, "sequence": mark.sequence}).encode()
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
