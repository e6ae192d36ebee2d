"""Start a program for a test and end it by its process id, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """A port that is free on loopback now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    health: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 180,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` in a process group of its own until the block ends.

    ``health``: an address that answers 200 when the program is ready. Raises AssertionError with the log's
    end when it stops or is not ready in time.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    try:
        if health is not None:
            _wait(process, health, log, timeout_s)
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], patience_s: float = 20) -> None:
    """Ask the process group to stop, then insist."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return


def _wait(process: subprocess.Popen[bytes], health: str, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} stopped:\n{_end_of(log)}"
        refused = contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError)
        with refused, urllib.request.urlopen(health, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.3)
    raise AssertionError(f"{process.args} was not ready after {timeout_s:.0f} s:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
