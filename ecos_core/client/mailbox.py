"""For sites that accept no inbound connection: signed request and answer files in a place both sides can
reach.

    MAILBOX/requests/<id>.ecos    a frame: who asks, what operation, a nonce, their signature, the request
    MAILBOX/answers/<id>.ecos     a frame: the nonce answered, the client's signature, the response or the error

The place (a folder, S3, any fsspec location) is not trusted (``postbox``): requests are signed with the key made from
the token, answers with the client's key, and both name the request they belong to. Who can read it sees noised
answers; who can write to it can lose or delay files, nothing more. The id is the digest of requester and
request, so a repeat finds the answer that is there. Only a release is good for ever: a refusal counts for the one
question whose nonce it carries, so that an old one, left or put back, is never taken for today's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ecos_core.client import wire
from ecos_core.client.connection import Connection
from ecos_core.client.engine import Engine
from ecos_core.client.faults import (
    RETRYABLE,
    ErrorBody,
    WaitingForApprovalError,
    describe,
    restore,
)
from ecos_core.client.gate import INFO, Caller, Gate
from ecos_core.client.keys import is_signed, public_hex, requester_key, sign
from ecos_core.client.postbox import SUFFIX, NoLetterError, postbox
from ecos_core.client.protocol import parse
from ecos_core.client.receipts import ReceiptBook
from ecos_core.client.requester import ANSWER_BYTES_LIMIT
from ecos_core.errors import EcosError, InputError, IntegrityError, RemoteError
from ecos_core.storage import Location, sha256_hex

log = logging.getLogger(__name__)
POLL_S = 0.2
LONGEST_POLL_S = 5.0
LETTERS_A_PASS = 1000
TRY_AGAIN_S = 5.0
_NONCE = re.compile(r"[0-9a-f]{32}")
_REQUEST, _ANSWER = b"ecos-mail-request-2\n", b"ecos-mail-answer-2\n"
OK, LATER, REFUSED = "ok", "later", "refused"


@dataclass(frozen=True)
class _Mail:
    """What an answer file says, once its signature is checked."""

    status: str
    nonce: str
    body: bytes

    def answers(self, nonce: str) -> bool:
        """A release is the answer whoever asks and whenever; anything else, to the question of that nonce."""
        return self.status == OK or self.nonce == nonce


class MailboxConnection(Connection):
    """A client that reads the mailbox at ``url``, asked in the name of ``token``'s holder.

    ``public_key``: the client's key (hex), when it is known; otherwise the first answer's is held on to.
    ``timeout_s``: how long to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        public_key: str | None = None,
        receipts: ReceiptBook | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        super().__init__(url, public_key, receipts)
        place = Location.of(url.removeprefix("mailbox+"))
        self._requests, self._answers = postbox(place, "requests"), postbox(place, "answers")
        self._key = requester_key(token.strip())
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Nothing is held open."""

    def ask_info(self) -> bytes:
        """As ``Connection.ask_info``."""
        message = secrets.token_bytes(16)  # fresh each time: the ledger moves on
        told = self.ask(INFO, message)
        with contextlib.suppress(OSError, EcosError):
            self._answers.remove(_identifier(public_hex(self._key), message) + SUFFIX)
        return told

    def ask(self, operation: str, message: bytes) -> bytes:
        """As ``Connection.ask``."""
        identifier = _identifier(public_hex(self._key), message)
        nonce = secrets.token_hex(16)
        found = self._read(identifier, nonce)
        if found is None:
            header = {"operation": operation, "public_key": public_hex(self._key), "nonce": nonce}
            header["signature"] = sign(self._key, _signed_request(operation, nonce, message))
            frame = wire.encode(header, {"message": np.frombuffer(message, np.uint8)})
            self._requests.write(identifier + SUFFIX, frame)
            found = self._wait(identifier, nonce, frame)
        if found.status == OK:
            return found.body
        where = f"client {self.url}"
        raise restore(parse(ErrorBody, wire.strict_json(found.body, where), where), self.url)

    def _wait(self, identifier: str, nonce: str, frame: bytes) -> _Mail:
        """Poll, less and less often. An error that may pass is waited out to the end of the time.

        A request that went without an answer was taken away with an older one of its name: it is put there again.
        """
        until = time.monotonic() + self._timeout_s
        pause, found = POLL_S, None
        while time.monotonic() < until:
            found = self._read(identifier, nonce)
            if found is not None and found.status != LATER:
                return found
            if not self._requests.has(identifier + SUFFIX) and self._read(identifier, nonce) is None:
                self._requests.write(identifier + SUFFIX, frame)
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
            pause = min(pause * 1.2, LONGEST_POLL_S)
        if found is not None:
            return found
        raise RemoteError(
            f"client {self.url} did not answer in time; is `ecos client work` running there? "
            "Ask again later, a repeat costs nothing",
            retryable=True,
        )

    def _read(self, identifier: str, nonce: str) -> _Mail | None:
        """The answer, when there is one to the question of this nonce."""
        where = f"client {self.url}: answer {identifier[:16]}"
        try:
            content = self._answers.read(identifier + SUFFIX, ANSWER_BYTES_LIMIT)
        except FileNotFoundError:
            return None
        except InputError as error:
            raise IntegrityError(where, "a signed answer", "something else") from error
        try:
            header, arrays = wire.decode(content)
            key, signature = str(header["public_key"]), str(header["signature"])
            mail = _Mail(str(header["status"]), str(header["nonce"]), arrays["body"].tobytes())
        except (InputError, KeyError) as error:
            raise IntegrityError(where, "a signed answer", "something else") from error
        if not is_signed(key, _signed_answer(identifier, mail), signature):
            raise IntegrityError(f"{where}: signature", "a valid one", "another")
        self._pin(key)
        return mail if mail.answers(nonce) else None


@dataclass(frozen=True)
class _Seen:
    """A letter that lies there still: not looked at again before ``until`` (``time.monotonic``), unless it changes
    or, where it ``waits_for`` the owner, the owner has decided. ``counted``: against the requester's rate."""

    stamp: str
    until: float = math.inf
    waits_for: str | None = None
    counted: bool = False


class MailboxWorker:
    """The client's side: answers what lies in the mailbox, in the order of names, each letter by itself."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._gate = Gate(engine)
        self._place = Location.of(url.removeprefix("mailbox+"))
        self._requests, self._answers = postbox(self._place, "requests"), postbox(self._place, "answers")
        self._key = engine.home.key()
        self._limit = int(engine.policy.largest_request_mb * 2**20) + wire.HEADER_LIMIT
        self._seen: dict[str, _Seen] = {}
        self._last = ""
        self._gate.opened("mailbox", str(self._place))

    def work(self, stop: Callable[[], bool], pause_s: float = 1.0) -> None:
        """Answer until ``stop()``; a mailbox out of reach is tried again."""
        while not stop():
            try:
                answered = self.work_once()
            except (OSError, EcosError) as error:
                reason = str(error) if isinstance(error, EcosError) else type(error).__name__
                log.error("mailbox %s: out of reach (%s); trying again", self._place, reason)
                answered = 0
            if not answered:
                time.sleep(pause_s)

    def work_once(self) -> int:
        """Answer what is there now, up to LETTERS_A_PASS. Returns how many requests were settled for good.

        Raises OSError, InputError or RemoteError when the mailbox itself cannot be used.
        """
        letters = self._requests.letters()
        self._seen = {name: seen for name, seen in self._seen.items() if letters.get(name) == seen.stamp}
        due = [name for name in letters if self._is_due(name)]
        # Where a pass is not enough the next one goes on behind it: no name is ever starved by those before it.
        due = [name for name in due if name > self._last] + [name for name in due if name <= self._last]
        settled = 0
        for name in due[:LETTERS_A_PASS]:
            try:
                settled += self._settle(name, letters[name])
            except FileNotFoundError:
                continue  # taken back meanwhile
            except Exception as error:  # this letter alone
                log.error("request %s: left for later (%s)", name[:16], type(error).__name__)
                self._seen[name] = _Seen(letters[name], time.monotonic() + TRY_AGAIN_S)
        self._last = due[LETTERS_A_PASS - 1] if len(due) > LETTERS_A_PASS else ""
        return settled

    def _is_due(self, name: str) -> bool:
        seen = self._seen.get(name)
        if seen is None or time.monotonic() >= seen.until:
            return True
        return seen.waits_for is not None and self._engine.approvals.is_decided(seen.waits_for)

    def _settle(self, name: str, stamp: str) -> bool:
        identifier = name.removesuffix(SUFFIX)
        before = self._seen.get(name)
        nonce, waits_for, retryable = "", None, False
        try:
            content = self._requests.read(name, self._limit)
            letter = _opened(identifier, content)
            nonce = letter.nonce
            mail = _Mail(OK, nonce, self._answer(letter, counted=before is not None and before.counted))
        except FileNotFoundError:
            raise
        except NoLetterError:
            log.warning("request %s: not a regular file; passed over", identifier[:16])
            self._seen[name] = _Seen(stamp)
            return False
        except Exception as error:
            told = describe(error)
            retryable = told.error in RETRYABLE
            waits_for = error.key if isinstance(error, WaitingForApprovalError) else None
            body = json.dumps(told.model_dump(exclude_none=True)).encode()
            mail = _Mail(LATER if retryable else REFUSED, nonce, body)
        self._send(name, mail)
        if retryable:
            until = math.inf if waits_for else time.monotonic() + TRY_AGAIN_S
            self._seen[name] = _Seen(stamp, until, waits_for, counted=waits_for is not None)
            return False
        self._seen[name] = _Seen(stamp)  # settled, also where it cannot be removed
        self._requests.remove(name)
        return True

    def _send(self, name: str, mail: _Mail) -> None:
        header = {"status": mail.status, "nonce": mail.nonce, "public_key": public_hex(self._key)}
        header["signature"] = sign(self._key, _signed_answer(name.removesuffix(SUFFIX), mail))
        self._answers.write(name, wire.encode(header, {"body": np.frombuffer(mail.body, np.uint8)}))

    def _answer(self, letter: _Letter, *, counted: bool) -> bytes:
        caller = self._gate.by_key(letter.public_key, letter.is_signed, Caller("mailbox"))
        if letter.operation == INFO:
            return json.dumps(self._gate.info(caller).model_dump(mode="json")).encode()
        return self._gate.answer(letter.message, caller, letter.operation, counted=counted)


@dataclass(frozen=True)
class _Letter:
    """A request file taken apart. ``is_signed``: by the key it names, and named as it must be."""

    operation: str
    public_key: str
    nonce: str
    message: bytes
    is_signed: bool


def _opened(identifier: str, content: bytes) -> _Letter:
    """Raises InputError for anything but a request file."""
    header, arrays = wire.decode(content)
    names = ("operation", "public_key", "nonce", "signature")
    operation, key, nonce, signature = (header.get(name) for name in names)
    if (
        not isinstance(operation, str)
        or not isinstance(key, str)
        or not isinstance(nonce, str)
        or not isinstance(signature, str)
        or not _NONCE.fullmatch(nonce)
        or set(arrays) != {"message"}
    ):
        raise InputError("request: operation, public_key, nonce, signature and the message are needed")
    message = arrays["message"].tobytes()
    signed = identifier == _identifier(key, message) and is_signed(
        key, _signed_request(operation, nonce, message), signature
    )
    return _Letter(operation, key, nonce, message, signed)


def _identifier(public_key: str, message: bytes) -> str:
    return sha256_hex(public_key.encode() + b"\n" + message)


def _signed_answer(identifier: str, mail: _Mail) -> bytes:
    return _ANSWER + f"{identifier}\n{mail.status}\n{mail.nonce}\n".encode() + mail.body


def _signed_request(operation: str, nonce: str, message: bytes) -> bytes:
    # The operation comes last but one and may hold anything: its length tells where it ends.
    name = operation.encode()
    return _REQUEST + f"{nonce}\n{len(name)}\n".encode() + name + b"\n" + message
