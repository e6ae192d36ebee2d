"""Requests that wait for the owner's word, as small files in the home: ``pending/`` and ``approved/``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, RemoteError
from ecos_core.storage import Location

WAITING_LIMIT = 1000
_KEY = re.compile(r"^[0-9a-f]{64}$")


class Approvals:
    """What waits and what was approved. A key is the ledger's name for one requester's request, 64 hex
    digits.
    """

    def __init__(self, home: Path) -> None:
        self._pending = home / "pending"
        self._approved = home / "approved"

    def is_approved(self, key: str) -> bool:
        return (self._approved / f"{key}.json").exists()

    def ask(self, key: str, description: dict[str, Any]) -> None:
        """Note a request down. Raises RemoteError (retryable) when too many wait already."""
        where = self._pending / f"{key}.json"
        if where.exists():
            return
        if len(self.waiting()) >= WAITING_LIMIT:
            raise RemoteError("too many requests wait for the data owner; ask again later", retryable=True)
        Location.of(where).write_bytes(json.dumps(description, indent=1).encode())

    def waiting(self) -> dict[str, dict[str, Any]]:
        """The descriptions of what waits, by key."""
        if not self._pending.is_dir():
            return {}
        files = sorted(path for path in self._pending.iterdir() if _KEY.match(path.stem))
        return {path.stem: json.loads(path.read_bytes()) for path in files}

    def approve(self, beginning: str) -> str:
        """Approve the one waiting request whose key begins so. Returns the key. Raises InputError."""
        found = [key for key in self.waiting() if key.startswith(beginning)]
        if len(found) != 1:
            raise InputError(f"'{beginning[:80]}': {len(found)} waiting requests begin so; one is needed")
        where = self._pending / f"{found[0]}.json"
        Location.of(self._approved / where.name).write_bytes(where.read_bytes())
        where.unlink()
        return found[0]
