"""Who may knock: one secret token a requester, kept as a hash and a public key.

A token is 256 random bits, so a plain SHA-256 is enough to store it (nothing can be guessed); comparison
takes constant time. A token may end on a day; one that was handed out for ever is revoked by hand.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from pydantic import Field
from pydantic import ValidationError as PydanticError

from ecos_core.client.keys import public_hex, requester_key
from ecos_core.client.protocol import Frozen
from ecos_core.errors import InputError
from ecos_core.storage import Location

PREFIX = "ecos_"
SECONDS_A_DAY = 86_400.0
DAYS_LIMIT = 36_500
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


class Requester(Frozen):
    """One entry of the store: who, the token's hash, the key that signs their mailbox requests, and from when
    until when the token is good (unix time; None: not recorded, for ever).
    """

    name: str
    token_sha256: str
    public_key: str
    added: float | None = None
    expires: float | None = None

    def has_expired(self) -> bool:
        """Whether the token's time is over."""
        return self.expires is not None and time.time() >= self.expires


class _Stored(Frozen):
    requesters: list[Requester] = Field(default_factory=list)


class TokenStore:
    """The requesters of one client, in a JSON file of mode 600. Re-read when it changes, so no restart is
    needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._requesters: list[Requester] = []

    @property
    def requesters(self) -> list[Requester]:
        """All who hold a token; none where the file is not there yet."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return []
        if (status.st_mtime_ns, status.st_ino) != self._seen:
            try:
                self._requesters = _Stored.model_validate_json(self._path.read_bytes()).requesters
            except PydanticError as error:
                raise InputError(f"{self._path}: damaged; remove it and add the requesters again") from error
            self._seen = (status.st_mtime_ns, status.st_ino)
        return self._requesters

    def add(self, name: str, days: float | None = None) -> str:
        """Let ``name`` ask from now on, for so many ``days`` (None: until revoked). Returns the token, which is
        stored nowhere. Raises InputError.
        """
        if not NAME.fullmatch(name):
            raise InputError(f"requester '{name[:80]}': use letters, digits, dots, dashes, at most 64")
        if days is not None and not 0 < days <= DAYS_LIMIT:
            raise InputError(f"a token is good for more than 0 and at most {DAYS_LIMIT:,} days, not {days:g}")
        token = PREFIX + secrets.token_urlsafe(32)
        now = time.time()
        added = Requester(
            name=name,
            token_sha256=_hash(token),
            public_key=public_hex(requester_key(token)),
            added=now,
            expires=None if days is None else now + days * SECONDS_A_DAY,
        )
        with self._changing() as held:
            if any(requester.name == name for requester in held):
                raise InputError(f"requester '{name}' has a token already; revoke it first")
            held.append(added)
        return token

    def revoke(self, name: str) -> None:
        """Refuse ``name`` from the next request on. What they spent stays in the ledger under their name."""
        with self._changing() as held:
            kept = [requester for requester in held if requester.name != name]
            if len(kept) == len(held):
                raise InputError(
                    f"requester '{name}': no such token; `ecos client token list` shows the names"
                )
            held[:] = kept

    def who(self, token: str) -> str | None:
        """The name of the holder of a token that is good now, or None."""
        found = self.of_token(token)
        return None if found is None or found.has_expired() else found.name

    def of_token(self, token: str) -> Requester | None:
        """Whose token it is, good or expired; None when it is nobody's."""
        digest = _hash(token)
        found = None
        for requester in self.requesters:
            if hmac.compare_digest(requester.token_sha256, digest):
                found = requester
        return found

    def of_key(self, public_key: str) -> Requester | None:
        """Whose token gives this key, good or expired; None when it is nobody's."""
        return next((found for found in self.requesters if found.public_key == public_key), None)

    @contextmanager
    def _changing(self) -> Iterator[list[Requester]]:
        """The list as it is now, to be changed; two changes at once both count."""
        with FileLock(self._path.with_suffix(".lock"), mode=0o600):
            held = list(self.requesters)
            yield held
            self._write(held)

    def _write(self, requesters: list[Requester]) -> None:
        stored = _Stored(requesters=requesters).model_dump(mode="json")
        Location.of(self._path).write_bytes(json.dumps(stored, indent=1).encode())
        self._path.chmod(0o600)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
