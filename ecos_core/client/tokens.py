"""Who may knock: one secret token a requester, kept as a hash and a public key.

A token is 256 random bits, so a plain SHA-256 is enough to store it (nothing can be guessed); comparison
takes constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from pathlib import Path

from pydantic import Field
from pydantic import ValidationError as PydanticError

from ecos_core.client.keys import public_hex, requester_key
from ecos_core.client.protocol import Frozen
from ecos_core.errors import InputError
from ecos_core.storage import Location

PREFIX = "ecos_"
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


class Requester(Frozen):
    """One entry of the store: who, the token's hash, and the key that signs their mailbox requests."""

    name: str
    token_sha256: str
    public_key: str


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

    def add(self, name: str) -> str:
        """Let ``name`` ask from now on. Returns the token, which is stored nowhere."""
        if not NAME.match(name):
            raise InputError(f"requester '{name[:80]}': use letters, digits, dots, dashes, at most 64")
        if any(requester.name == name for requester in self.requesters):
            raise InputError(f"requester '{name}' has a token already; revoke it first")
        token = PREFIX + secrets.token_urlsafe(32)
        added = Requester(name=name, token_sha256=_hash(token), public_key=public_hex(requester_key(token)))
        self._write([*self.requesters, added])
        return token

    def revoke(self, name: str) -> None:
        """Refuse ``name`` from the next request on. What they spent stays in the ledger under their name."""
        kept = [requester for requester in self.requesters if requester.name != name]
        if len(kept) == len(self.requesters):
            raise InputError(f"requester '{name}': no such token; `ecos client token list` shows the names")
        self._write(kept)

    def who(self, token: str) -> str | None:
        """The name of the token's holder, or None."""
        digest = _hash(token)
        found = None
        for requester in self.requesters:
            if hmac.compare_digest(requester.token_sha256, digest):
                found = requester.name
        return found

    def holder(self, public_key: str) -> str | None:
        """The name of whoever's token gives this key, or None."""
        return next((found.name for found in self.requesters if found.public_key == public_key), None)

    def _write(self, requesters: list[Requester]) -> None:
        stored = _Stored(requesters=requesters).model_dump(mode="json")
        Location.of(self._path).write_bytes(json.dumps(stored, indent=1).encode())
        self._path.chmod(0o600)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
