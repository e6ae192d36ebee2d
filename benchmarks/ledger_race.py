"""Many processes ask one ledger at the same moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from ecos_core.errors import BudgetExceeded
from ecos_core.privacy.events import GaussianEvent
from ecos_core.privacy.ledger import Ledger


def race(folder: Path, requests: Sequence[str], event: GaussianEvent) -> list[bytes]:
    """One forked process a request, all let go together. The answers in order; empty where over budget."""
    gate_reader, gate_writer = os.pipe()
    pipes = []
    for request in requests:
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.close(gate_writer)
                os.read(gate_reader, 1)
                os.write(writer, _ask(folder, request, event))
            finally:
                os._exit(0)
        os.close(writer)
        pipes.append(reader)
    os.close(gate_reader)
    os.close(gate_writer)
    answers = []
    for reader in pipes:
        with os.fdopen(reader, "rb") as pipe:
            answers.append(pipe.read())
    for _ in requests:
        os.wait()
    return answers


def race_threads(folder: Path, requests: Sequence[str], event: GaussianEvent) -> list[bytes]:
    """The same with threads of one process on one ledger."""
    ledger, gate = Ledger.open(folder), threading.Barrier(len(requests))
    answers = [b""] * len(requests)

    def work(index: int) -> None:
        gate.wait()
        answers[index] = _spend(ledger, requests[index], event)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _ask(folder: Path, request: str, event: GaussianEvent) -> bytes:
    return _spend(Ledger.open(folder), request, event)


def _spend(ledger: Ledger, request: str, event: GaussianEvent) -> bytes:
    try:
        return ledger.spend(request, "server", "v1", "score", [event], lambda _: os.urandom(16)).answer
    except BudgetExceeded:
        return b""
