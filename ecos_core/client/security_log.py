"""The client's security log: one JSON line for everything that was asked, refused, decided and changed.

    HOME/log/security.jsonl, security.jsonl.1, …     the newest first; rotated by size

Every line is made from the request, the policy and the ledger, never from the data: neighbouring data sets give the
same lines. All text is escaped to ASCII and cut, so that nothing a stranger names itself can break or forge a line.
Several processes may write: each line is appended, synced and, when it is time, rotated under one file lock.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from filelock import FileLock

from ecos_core.errors import InputError

NAME = "security.jsonl"
FILE_BYTES = 10 * 2**20
FILES_KEPT = 20
TEXT_LIMIT = 300


class SecurityLog:
    """The log in ``folder``. Raises OSError when a line cannot be written: no line, no answer."""

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES, files_kept: int = FILES_KEPT) -> None:
        self.path = folder / NAME
        self._file_bytes = file_bytes
        self._files_kept = files_kept
        self._thread = threading.Lock()

    def write(self, event: str, **facts: Any) -> None:
        """Append one line: the time, the event, and the facts that are not None. On disk when this returns."""
        told = {name: _short(value) for name, value in facts.items() if value is not None}
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._thread, FileLock(self.path.with_suffix(".lock"), mode=0o600):
            line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **told}
            record = logging.makeLogRecord({"msg": json.dumps(line, ensure_ascii=True, allow_nan=False)})
            handler = _Synced(self.path, maxBytes=self._file_bytes, backupCount=self._files_kept, delay=True)
            try:
                handler.emit(record)
            finally:
                handler.close()

    def lines(self, since: datetime | None = None) -> Iterator[dict[str, Any]]:
        """The lines kept, oldest first, from ``since`` (with a time zone) on. Raises InputError for one that is
        none.
        """
        numbered = [self.path.with_name(f"{NAME}.{number}") for number in range(self._files_kept, 0, -1)]
        for file in (*numbered, self.path):
            if not file.exists():
                continue
            with file.open(encoding="ascii", errors="replace") as opened:
                for number, text in enumerate(opened, 1):
                    line = _parsed(text, f"{file}: line {number}")
                    if since is None or datetime.fromisoformat(line["time"]) >= since:
                        yield line


class _Synced(RotatingFileHandler):
    """The file is opened for one line, readable by its owner only, and synced; an error is the caller's."""

    def _open(self) -> Any:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="ascii")

    def flush(self) -> None:
        super().flush()
        if self.stream is not None:
            os.fsync(self.stream.fileno())

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        raise


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:TEXT_LIMIT]
    if isinstance(value, list | tuple):
        return [_short(item) for item in value[:20]]
    return value


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
        datetime.fromisoformat(line["time"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: not a line of the security log; keep the file and look at it") from error
    return dict(line)
