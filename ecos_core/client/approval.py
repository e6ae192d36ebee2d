"""Requests that wait for the owner's word, as small files in the home: ``pending/``, ``approved/``, ``refused/``.

A refusal stands until the owner takes it back (by approving): the requester is told it, with the reason, each time.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, RemoteError
from ecos_core.storage import Location

WAITING_LIMIT = 1000
REASON_LIMIT = 300
_KEY = re.compile(r"[0-9a-f]{64}")


class Approvals:
    """What waits, what was approved and what refused. A key is the ledger's name for one requester's request, 64
    hex digits.
    """

    def __init__(self, home: Path) -> None:
        self._pending = home / "pending"
        self._approved = home / "approved"
        self._refused = home / "refused"

    def is_approved(self, key: str) -> bool:
        """Whether the owner has said yes to the request of this key."""
        return (self._approved / f"{key}.json").exists()

    def refusal(self, key: str) -> str | None:
        """The reason that the owner gave for refusing (it may be empty); None when it was not refused."""
        try:
            return str(json.loads((self._refused / f"{key}.json").read_bytes())["decision"]["reason"])
        except FileNotFoundError:
            return None

    def is_decided(self, key: str) -> bool:
        """Whether the owner has said yes or no."""
        return self.is_approved(key) or self.refusal(key) is not None

    def ask(self, key: str, description: dict[str, Any]) -> bool:
        """Note a request down. Returns whether it is new. Raises RemoteError (retryable) when too many wait."""
        where = self._pending / f"{key}.json"
        if where.exists():
            return False
        if len(_keys(self._pending)) >= WAITING_LIMIT:
            raise RemoteError("too many requests wait for the data owner; ask again later", retryable=True)
        noted = {**description, "since": _now()}
        Location.of(where).write_bytes(json.dumps(noted, indent=1).encode())
        return True

    def waiting(self) -> dict[str, dict[str, Any]]:
        """The descriptions of what waits, by key."""
        return {key: json.loads((self._pending / f"{key}.json").read_bytes()) for key in _keys(self._pending)}

    def approve(self, beginning: str, by: str = "") -> str:
        """Approve the one waiting or refused request whose key begins so. Returns the key. Raises InputError."""
        return self._decide(beginning, self._approved, [self._pending, self._refused], {"by": by})

    def refuse(self, beginning: str, reason: str, by: str = "") -> str:
        """Refuse the one waiting request whose key begins so. Returns the key. Raises InputError."""
        if len(reason) > REASON_LIMIT or not reason.isprintable():
            raise InputError(f"the reason must be one line of at most {REASON_LIMIT} characters")
        return self._decide(beginning, self._refused, [self._pending], {"by": by, "reason": reason})

    def _decide(self, beginning: str, to: Path, origins: list[Path], decision: dict[str, str]) -> str:
        found = [(origin, key) for origin in origins for key in _keys(origin) if key.startswith(beginning)]
        if len(found) != 1:
            raise InputError(f"'{beginning[:80]}': {len(found)} waiting requests begin so; one is needed")
        origin, key = found[0]
        where = origin / f"{key}.json"
        decided = {**json.loads(where.read_bytes()), "decision": {**decision, "at": _now()}}
        Location.of(to / where.name).write_bytes(json.dumps(decided, indent=1).encode())
        where.unlink()
        return key


def _keys(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        path.stem for path in folder.iterdir() if _KEY.fullmatch(path.stem) and path.suffix == ".json"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
