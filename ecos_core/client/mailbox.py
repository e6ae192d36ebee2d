"""For sites that accept no inbound connection: signed request and answer files in a place both sides can
reach.

    MAILBOX/requests/<id>.ecos    a frame: who asks, what operation, their signature, the request
    MAILBOX/answers/<id>.ecos     a frame: the client's signature, the response or the error

The place (a folder, S3, any fsspec location) is not trusted: requests are signed with the key made from the
token, answers with the client's key, and both name the request they belong to. Who can read it sees noised
answers; who can write to it can lose or delay files, nothing more. The id is the digest of requester and
request, so a repeat finds the answer that is there.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ecos_core.client import wire
from ecos_core.client.connection import Connection
from ecos_core.client.engine import Engine
from ecos_core.client.faults import RETRYABLE, ErrorBody, UnauthorisedError, describe, restore
from ecos_core.client.keys import is_signed, public_hex, requester_key, sign
from ecos_core.client.protocol import parse
from ecos_core.errors import InputError, IntegrityError, RemoteError
from ecos_core.storage import Location, sha256_hex

log = logging.getLogger(__name__)
SUFFIX = ".ecos"
POLL_S = 0.2
LONGEST_POLL_S = 5.0
INFO = "info"
_REQUEST, _ANSWER = b"ecos-mail-request-1\n", b"ecos-mail-answer-1\n"
OK, LATER, REFUSED = "ok", "later", "refused"


@dataclass(frozen=True)
class _Mail:
    """What an answer file says, once its signature is checked."""

    status: str
    body: bytes


class MailboxConnection(Connection):
    """A client that reads the mailbox at ``url``, asked in the name of ``token``'s holder.

    ``public_key``: the client's key (hex), when it is known; otherwise the first answer's is held on to.
    ``timeout_s``: how long to wait for an answer.
    """

    def __init__(
        self, url: str, token: str, *, public_key: str | None = None, timeout_s: float = 120.0
    ) -> None:
        super().__init__(url, public_key)
        self._place = Location.of(url.removeprefix("mailbox+"))
        self._key = requester_key(token.strip())
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Nothing is held open."""

    def ask_info(self) -> bytes:
        return self.ask(INFO, secrets.token_bytes(16))  # fresh each time: the ledger moves on

    def ask(self, operation: str, message: bytes) -> bytes:
        identifier = _identifier(public_hex(self._key), message)
        answer = self._place / "answers" / f"{identifier}{SUFFIX}"
        request = self._place / "requests" / f"{identifier}{SUFFIX}"
        found = self._read(answer, identifier)
        if found is None or found.status != OK:
            answer.remove()
            header = {"operation": operation, "public_key": public_hex(self._key)}
            header["signature"] = sign(self._key, _signed_request(operation, message))
            request.write_bytes(wire.encode(header, {"message": np.frombuffer(message, np.uint8)}))
            found = self._wait(answer, identifier)
        if found.status == OK:
            return found.body
        where = f"client {self.url}"
        raise restore(parse(ErrorBody, wire.strict_json(found.body, where), where), self.url)

    def _wait(self, answer: Location, identifier: str) -> _Mail:
        """Poll, less and less often. An error that may pass is waited out to the end of the time."""
        until = time.monotonic() + self._timeout_s
        pause, found = POLL_S, None
        while time.monotonic() < until:
            found = self._read(answer, identifier)
            if found is not None and found.status != LATER:
                return found
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
            pause = min(pause * 1.2, LONGEST_POLL_S)
        if found is not None:
            return found
        raise RemoteError(
            f"client {self.url} did not answer in time; is `ecos client work` running there? "
            "Ask again later, a repeat costs nothing",
            retryable=True,
        )

    def _read(self, answer: Location, identifier: str) -> _Mail | None:
        try:
            content = answer.read_bytes()
        except FileNotFoundError:
            return None
        where = f"client {self.url}: answer {identifier[:16]}"
        try:
            header, arrays = wire.decode(content)
            key, signature = str(header["public_key"]), str(header["signature"])
            mail = _Mail(str(header["status"]), arrays["body"].tobytes())
        except (InputError, KeyError) as error:
            raise IntegrityError(where, "a signed answer", "something else") from error
        if not is_signed(key, _signed_answer(identifier, mail.status, mail.body), signature):
            raise IntegrityError(f"{where}: signature", "a valid one", "another")
        self._pin(key)
        return mail


class MailboxWorker:
    """The client's side: answers what lies in the mailbox, in the order of names."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._place = Location.of(url.removeprefix("mailbox+"))
        self._key = engine.home.key()
        self._limit = int(engine.policy.largest_request_mb * 2**20) + wire.HEADER_LIMIT

    def work(self, stop: Callable[[], bool], pause_s: float = 1.0) -> None:
        """Answer until ``stop()``; a mailbox out of reach is tried again."""
        while not stop():
            try:
                answered = self.work_once()
            except OSError as error:
                log.error("mailbox %s: out of reach (%s); trying again", self._place, type(error).__name__)
                answered = 0
            if not answered:
                time.sleep(pause_s)

    def work_once(self) -> int:
        """Answer what is there now. Returns how many requests were settled for good."""
        settled = 0
        for name in (self._place / "requests").names():
            if name.endswith(SUFFIX):
                settled += self._settle(name)
        return settled

    def _settle(self, name: str) -> bool:
        identifier = name.removesuffix(SUFFIX)
        request = self._place / "requests" / name
        try:
            status, body = OK, self._answer(request, identifier)
        except FileNotFoundError:
            return False
        except Exception as error:
            told = describe(error)
            if told.error in ("internal", "ledger"):
                log.error("request %s: %s", identifier[:16], type(error).__name__)
            status = LATER if told.error in RETRYABLE else REFUSED
            body = json.dumps(told.model_dump(exclude_none=True)).encode()
        header = {"status": status, "public_key": public_hex(self._key)}
        header["signature"] = sign(self._key, _signed_answer(identifier, status, body))
        frame = wire.encode(header, {"body": np.frombuffer(body, np.uint8)})
        (self._place / "answers" / name).write_bytes(frame)
        if status != LATER:
            request.remove()
        return status != LATER

    def _answer(self, request: Location, identifier: str) -> bytes:
        if request.size() > self._limit:
            raise InputError("the request is larger than this client takes")
        header, arrays = wire.decode(request.read_bytes())
        operation, key, signature = (header.get(name) for name in ("operation", "public_key", "signature"))
        if not all(isinstance(value, str) for value in (operation, key, signature)) or set(arrays) != {
            "message"
        }:
            raise InputError("request: operation, public_key, signature and the message are needed")
        message = arrays["message"].tobytes()
        requester = self._engine.tokens.holder(str(key))
        signed = is_signed(str(key), _signed_request(str(operation), message), str(signature))
        if requester is None or not signed or identifier != _identifier(str(key), message):
            raise UnauthorisedError
        if operation == INFO:
            return json.dumps(self._engine.info(requester).model_dump(mode="json")).encode()
        return self._engine.answer(message, requester, str(operation))


def _identifier(public_key: str, message: bytes) -> str:
    return sha256_hex(public_key.encode() + b"\n" + message)


def _signed_answer(identifier: str, status: str, body: bytes) -> bytes:
    return _ANSWER + f"{identifier}\n{status}\n".encode() + body


def _signed_request(operation: str, message: bytes) -> bytes:
    return _REQUEST + operation.encode() + b"\n" + message
