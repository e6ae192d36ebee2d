"""What stands between a transport and the engine: who asks, how often, and a line in the log for all of it.

Both transports go through here, so that a token, a limit and a refusal mean the same over each. What is counted and
logged depends on the request, the policy and the ledger only.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ecos_core import __version__
from ecos_core.client import wire
from ecos_core.client.engine import Engine
from ecos_core.client.faults import RateLimitedError, UnauthorisedError, describe
from ecos_core.client.protocol import ClientInfo
from ecos_core.client.rates import Rate
from ecos_core.client.tokens import Requester
from ecos_core.errors import EcosError
from ecos_core.storage import sha256_hex

log = logging.getLogger(__name__)
INFO = "info"
LINES_A_MINUTE = 120  # of one kind, by one caller
ANSWERED_KEPT = 4096  # digests of answered messages, whose repeats are free


@dataclass(frozen=True)
class Caller:
    """Who asks: by which transport, from where (an address, or None), and, once known, whose token."""

    via: Literal["http", "mailbox"]
    address: str | None = None
    requester: str | None = None


class Gate:
    """One client's door. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        policy = engine.policy
        self.engine = engine
        self.log = engine.home.log
        self._asked = Rate(policy.requests_per_minute)
        self._strangers = Rate(policy.failed_logins_per_minute)
        self._lines = Rate(LINES_A_MINUTE)
        self._left_out: dict[str, int] = {}
        self._answered: OrderedDict[str, None] = OrderedDict()

    def opened(self, via: str, address: str) -> None:
        """Log the start of a service, and the rules that it starts with."""
        policy = self.engine.policy
        self.log.write(
            "start", via=via, address=address, version=__version__, client=self.engine.home.identity.client_id,
            epsilon=policy.epsilon, epsilon_per_requester=policy.epsilon_per_requester, delta=policy.delta,
            operations=policy.operations, requesters=policy.requesters, approval=policy.approval,
            sequence=self.engine.head,
        )  # fmt: skip

    def by_token(self, token: str | None, caller: Caller, names: Collection[str] | None = None) -> Caller:
        """The caller by name. ``names``: those of the certificate it showed, where one is asked for.

        Raises UnauthorisedError, or RateLimitedError for too many failures from one address; logged.
        """
        found = None if token is None else self.engine.tokens.of_token(token)
        if found is None or found.has_expired() or (names is not None and found.name not in names):
            raise self._refused(caller, found, "the certificate is another's")
        return Caller(caller.via, caller.address, found.name)

    def by_key(self, public_key: str, signed: bool, caller: Caller) -> Caller:
        """The caller whose token gives ``public_key``; ``signed``: whether the request carries its signature."""
        found = self.engine.tokens.of_key(public_key)
        if found is None or found.has_expired() or not signed:
            raise self._refused(caller, found, "the signature is not theirs")
        return Caller(caller.via, caller.address, found.name)

    def _refused(self, caller: Caller, found: Requester | None, otherwise: str) -> EcosError:
        reason = "no such token" if found is None else "expired" if found.has_expired() else otherwise
        self._note("log-in failed", caller, reason=reason, token_of=None if found is None else found.name)
        if not self._strangers.admit(caller.address or caller.via):
            return RateLimitedError(self._strangers.limit)
        return UnauthorisedError(expired=reason == "expired")

    def turned_out(self, caller: Caller, reason: str) -> None:
        """Log that a connection was closed before it asked anything."""
        self._note("connection closed", caller, reason=reason)

    def info(self, caller: Caller) -> ClientInfo:
        """What the client says of itself to this caller. Counted and logged; raises as ``Engine.info``."""
        with self.recorded(caller, INFO):
            self._count(caller)
            told = self.engine.info(str(caller.requester))
        self._note("request", caller, operation=INFO, outcome="told")
        return told

    def answer(self, message: bytes, caller: Caller, operation: str, *, counted: bool = False) -> bytes:
        """The framed release for a framed request. Raises as ``Engine.answer``.

        ``counted``: it was counted against the rate before, when it was put off.
        """
        requester = str(caller.requester)
        name = sha256_hex(f"{requester}\n{operation}\n".encode() + message)
        with self.recorded(caller, operation):
            if not counted and name not in self._answered:
                self._count(caller)
            before = self.engine.head
            response = self.engine.answer(message, requester, operation)
        receipt = wire.decode(response)[0]["receipt"]
        repeated = receipt["sequence"] <= before
        self._keep(name)
        facts = {field: receipt[field] for field in ("sequence", "epsilon_release", "epsilon", "delta")}
        outcome = "repeated" if repeated else "answered"
        self._note(
            "request",
            caller,
            operation=operation,
            outcome=outcome,
            request=receipt["request_digest"],
            **facts,
        )
        return response

    @contextmanager
    def recorded(self, caller: Caller, operation: str) -> Iterator[None]:
        """Log whatever is raised inside as the outcome of the request."""
        try:
            yield
        except Exception as error:
            told = describe(error)
            if told.error in ("internal", "ledger"):
                log.error("%s: %s: %s", operation, type(error).__name__, error if _is_ours(error) else "…")
            self._note("request", caller, operation=operation, outcome=told.error, reason=told.message)
            raise

    def _note(self, event: str, caller: Caller, **facts: Any) -> None:
        """Log a line, unless this caller's lines of this kind have had their share of the minute: then they are
        counted, and the next line says how many were left out, so that nobody can push the rest out of the log.
        """
        kind = f"{event} {facts.get('outcome')} {caller.requester or caller.address}"
        if not self._lines.admit(kind):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        left_out = self._left_out.pop(kind, None)
        self.log.write(event, **_who(caller), **facts, left_out=left_out)

    def _count(self, caller: Caller) -> None:
        if not self._asked.admit(str(caller.requester)):
            raise RateLimitedError(self._asked.limit)

    def _keep(self, name: str) -> None:
        self._answered[name] = None
        while len(self._answered) > ANSWERED_KEPT:
            self._answered.popitem(last=False)


def _who(caller: Caller) -> dict[str, Any]:
    return {"via": caller.via, "address": caller.address, "requester": caller.requester}


def _is_ours(error: Exception) -> bool:
    """Whether an error's text may be shown to the owner: one of ours never holds a private value."""
    return isinstance(error, EcosError)
