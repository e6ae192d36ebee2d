"""Kill -9 at every write boundary of the ledger, then look at what is left.

A forked child asks the ledger for an answer and "sends" it (one byte string down a pipe). It kills itself
at the k-th boundary: before any statement that SQLite is given, any fsync, any rename, in the answer's
computation and before the send. The parent opens the ledger again as a restarted client would.
"""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import histogram_event
from ecos_core.privacy.ledger import Ledger, Limits

EVENT = histogram_event(50.0)
DELTA = 1e-5


@dataclass(frozen=True)
class Outcome:
    """One killed run. ``sent``: the bytes that left before the kill; ``finished``: the boundary was never
    reached.

    ``faults`` says what promise was broken; empty when none was.
    """

    boundary: int
    sent: bytes
    finished: bool
    faults: tuple[str, ...]


def crash_at(folder: Path, boundary: int, request: str) -> Outcome:
    """Spend for ``request`` in a child that dies at ``boundary`` (0 is the first), then check the ledger."""
    sent, finished = _in_child(lambda send: _spend_and_die(folder, boundary, request, send))
    return Outcome(boundary, sent, finished, tuple(_check(folder, request, sent)))


def crash_after(folder: Path, seconds: float, request: str) -> Outcome:
    """The same with a kill from outside at an arbitrary moment."""

    def work(send: Callable[[bytes], None]) -> None:
        send(_spend(Ledger.open(folder), request))

    sent, finished = _in_child(work, kill_after_s=seconds)
    return Outcome(-1, sent, finished, tuple(_check(folder, request, sent)))


def run(kills: int) -> list[Outcome]:
    """On one ledger: half of the kills at every boundary in turn, half at random moments of a spend."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "ledger"
        Ledger.create(folder, Limits(total=100.0), DELTA).close()
        boundary = 0
        while len(outcomes) < kills // 2:
            outcomes.append(crash_at(folder, boundary, f"boundary {len(outcomes)}"))
            boundary = 0 if outcomes[-1].finished else boundary + 1
        start = time.monotonic()
        crash_after(folder, 10.0, "whole")
        whole_s = time.monotonic() - start
        while len(outcomes) < kills:
            moment = whole_s * secrets.randbelow(1000) / 1000
            outcomes.append(crash_after(folder, moment, f"moment {len(outcomes)}"))
    return outcomes


def _spend(ledger: Ledger, request: str) -> bytes:
    answer = secrets.token_bytes
    return ledger.spend(request, "server", "v1", "score", [EVENT], lambda _: answer(32)).answer


def _spend_and_die(folder: Path, boundary: int, request: str, send: Callable[[bytes], None]) -> None:
    ledger = Ledger.open(folder)
    left = boundary

    def tick(*_: object) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def ticking(*arguments: Any, **options: Any) -> Any:
            tick()
            return function(*arguments, **options)

        return ticking

    connect = sqlite3.connect

    def connect_and_trace(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(tick)
        return connection

    ledger.close()
    with (
        mock.patch("sqlite3.connect", connect_and_trace),
        mock.patch("os.fsync", before(os.fsync)),
        mock.patch("os.write", before(os.write)),
        mock.patch("pathlib.Path.replace", before(Path.replace)),
        mock.patch("secrets.token_bytes", before(secrets.token_bytes)),
    ):
        answer = _spend(ledger, request)
        tick()
    send(answer)


def _in_child(
    work: Callable[[Callable[[bytes], None]], None], *, kill_after_s: float | None = None
) -> tuple[bytes, bool]:
    """What the child sent, and whether it ended by itself."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            work(lambda data: (os.write(writer, data), None)[1])
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    if kill_after_s is not None:
        deadline = time.monotonic() + kill_after_s
        while (
            time.monotonic() < deadline
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.0002)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise RuntimeError("the child failed instead of being killed")
    return sent, os.WIFEXITED(status)


def _check(folder: Path, request: str, sent: bytes) -> list[str]:
    """The promises after a restart: it opens, verifies, spent >= released, one noise a request."""
    faults = []
    ledger = Ledger.open(folder)
    report = ledger.verify()
    before = ledger.statement()
    released = [row for row in before.events if row.operation == "score"]
    if sent and abs(before.epsilon_spent - epsilon_charged([EVENT] * len(released), DELTA)) > 1e-9:
        faults.append("spent is not what the entries cost")
    first = _spend(ledger, request)
    if sent and first != sent:
        faults.append("a second noise for one request")
    stored = ledger.spend(request, "server", "v1", "score", [EVENT], lambda _: b"never")
    if not stored.replayed or stored.answer != first:
        faults.append("the replay is not the stored answer")
    if sent and ledger.verify().releases != report.releases:
        faults.append("an answer was released before it was spent")
    ledger.close()
    return faults
