"""Servers on this machine for the length of a command: started, waited for, stopped by their process id.

Each gets its own log file; nothing listens beyond the loopback interface.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecos_core.errors import RemoteError

LOOPBACK = "127.0.0.1"
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True)
class Service:
    """A running server: its address, process and log."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    health: str
    wait_s: float

    def wait_ready(self) -> None:
        """Return when it answers. Raises RemoteError, naming the log, when it stops or takes too long."""
        _wait(self, self.url + self.health, self.wait_s)


def free_port(preferred: int | None = None) -> int:
    """A free loopback port, the preferred one where it is free."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RemoteError("no free port on this machine", retryable=True)


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    url: str,
    health: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    wait_s: float = 120,
    wait: bool = True,
) -> Iterator[Service]:
    """Start ``command``, wait until ``url + health`` answers (unless ``wait`` is off: the caller waits when it needs
    the service), and stop the process at the end.

    Raises RemoteError, naming the log, when it does not come up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **QUIET, **(environment or {})},
            start_new_session=True,
        )
    service = Service(name=name, url=url, process=process, log=log, health=health, wait_s=wait_s)
    try:
        if wait:
            service.wait_ready()
        yield service
    finally:
        stop(process)


def _wait(service: Service, address: str, wait_s: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            raise RemoteError(
                f"{service.name} stopped at start (exit {service.process.returncode}); see {service.log}",
                retryable=False,
            )
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(address, timeout=2) as answer:
            if answer.status < 500:
                return
        time.sleep(0.2)
    raise RemoteError(f"{service.name} did not answer in {wait_s:.0f} s; see {service.log}", retryable=True)


def stop(process: subprocess.Popen[bytes], grace_s: float = 15) -> None:
    """Ask the process group to end, then make it."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)


def python(*arguments: str) -> list[str]:
    """A command that runs a module with this interpreter."""
    return [sys.executable, "-m", *arguments]


def prefect_server(home: Path, port: int, *, wait: bool = True) -> contextlib.AbstractContextManager[Service]:
    """A Prefect server on SQLite under ``home/prefect``."""
    folder = home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://{LOOPBACK}:{port}"
    return running(
        "the Prefect server",
        python("prefect", "server", "start", "--host", LOOPBACK, "--port", str(port), "--analytics-off"),
        url=url,
        health="/api/health",
        log=home / "logs" / "prefect-server.log",
        environment={
            "PREFECT_HOME": str(folder),
            "PREFECT_UI_API_URL": f"{url}/api",
            "PREFECT_UI_URL": url,
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
            # In memory, the default, a restart forgets who holds a slot, and stops the runs that do.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        },
        wait=wait,
    )


def mlflow_ui(tracking_uri: str, home: Path, port: int) -> contextlib.AbstractContextManager[Service]:
    """The MLflow web page over a tracking store."""
    return running(
        "the MLflow UI",
        python(
            "mlflow", "server", "--backend-store-uri", tracking_uri, "--host", LOOPBACK, "--port", str(port),
            "--workers", "1",
        ),
        url=f"http://{LOOPBACK}:{port}",
        health="/health",
        log=home / "logs" / "mlflow.log",
    )  # fmt: skip
