"""Kill -9 a client's HTTP service at every write boundary, then look at what is left.

A forked child opens the home and serves on a listener of the parent's. It kills itself at the k-th boundary
of one request: before any statement that SQLite is given, any fsync, write or rename, before the noise, and
before the response's first byte. The parent is the requester; afterwards it opens the home again as a
restarted client would.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from ecos_core.client.engine import Engine
from ecos_core.client.home import open_home

Ticker = Callable[..., None]


@dataclass(frozen=True)
class Crash:
    """One killed run: the boundary, whether the service outlived it, and the promises that were broken."""

    boundary: int
    finished: bool
    faults: tuple[str, ...]


def crash_at(home: Path, message: bytes, token: str, boundary: int) -> Crash:
    """Ask once while the service dies at ``boundary`` (0 is the first), restart, ask again twice."""
    received, finished = _ask_a_mortal_client(home, message, token, boundary)
    engine = Engine(open_home(home))
    version = engine.home.identity.data_version
    before = len(engine._ledger.statement(None, version).events)
    again = engine.answer(message, "first")
    after = len(engine._ledger.statement(None, version).events)
    engine._kept.clear()
    faults = []
    if received is not None and after != before:
        faults.append("an answer left that was not spent")
    if received is not None and received != again:
        faults.append("the answer after the restart is not the one that left")
    if engine.answer(message, "first") != again:
        faults.append("a repeat differs")
    engine._ledger.verify()
    engine._ledger.close()
    return Crash(boundary, finished, tuple(faults))


def _ask_a_mortal_client(home: Path, message: bytes, token: str, boundary: int) -> tuple[bytes | None, bool]:
    """The response, if one left, and whether the boundary was never reached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _serve_and_die(home, listener, boundary)
            finally:
                os._exit(status)
        listener.close()
        received = None
        try:
            response = httpx.post(
                f"http://127.0.0.1:{port}/v1/score",
                content=message,
                headers={"authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=30,
            )
            received = response.content if response.status_code == 200 else None
        except httpx.HTTPError:
            pass
        finished = received is not None
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return received, finished


def _serve_and_die(home: Path, listener: socket.socket, boundary: int) -> None:
    import uvicorn

    from ecos_core.client import engine as engines
    from ecos_core.client import release
    from ecos_core.client.service import create_app

    engine = Engine(open_home(home))
    engine._ledger.close()
    left = boundary

    def tick(*_: object) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    answer = engines.Engine.answer

    def answer_and_tick(self: Engine, *arguments: Any) -> bytes:
        with ExitStack() as stack:
            for patch in _boundaries(tick):
                stack.enter_context(patch)
            response = answer(self, *arguments)
            tick()
            return response

    with (
        mock.patch.object(engines.Engine, "answer", answer_and_tick),
        mock.patch.object(release, "discrete_gaussian_noise", _before(tick, release.discrete_gaussian_noise)),
    ):
        config = uvicorn.Config(create_app(engine), log_level="critical", lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


def _boundaries(tick: Ticker) -> list[Any]:
    connect = sqlite3.connect

    def connect_and_trace(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(tick)
        return connection

    return [
        mock.patch("sqlite3.connect", connect_and_trace),
        mock.patch("os.fsync", _before(tick, os.fsync)),
        mock.patch("os.write", _before(tick, os.write)),
        mock.patch("pathlib.Path.replace", _before(tick, Path.replace)),
    ]


def _before(tick: Ticker, function: Callable[..., Any]) -> Callable[..., Any]:
    def ticking(*arguments: Any, **options: Any) -> Any:
        tick()
        return function(*arguments, **options)

    return ticking
