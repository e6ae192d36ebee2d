"""A deployment on one machine: a Prefect server that can be killed and started again, the deployments of
``ecos deploy``, a worker by ``deployments/run.sh``, and a client with a ledger.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from ecos_cli.local_services import Service, prefect_server, running
from tests.flows.prefect_support import wait_for
from tests.tiny_support import ROOT, ServedClient

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED"}
SERVER_SETTINGS = {
    # What takes half a minute by default, in seconds.
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
}
WORKER_SETTINGS = {"PREFECT_WORKER_QUERY_SECONDS": "1"}


@dataclass
class Site:
    """Where everything is, and what runs."""

    home: Path
    lake: Path
    client: ServedClient
    port: int
    on: contextlib.ExitStack
    server: Service | None = None
    worker: Service | None = None
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def out(self) -> Path:
        return self.home / "runs"

    @property
    def environment(self) -> dict[str, str]:
        """Of the commands and the worker: this checkout, and a Prefect home of their own."""
        return {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.home / "own"),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "ECOS_MLFLOW_ARTIFACTS": str(self.home / "artifacts"),
        }

    def start_server(self) -> None:
        self.server = self.on.enter_context(prefect_server(self.home, self.port))

    def kill_server(self) -> None:
        assert self.server is not None
        kill(self.server.process.pid)

    def start_worker(self) -> None:
        self.worker = self.on.enter_context(
            running(
                "the worker",
                [str(ROOT / "deployments" / "run.sh"), "worker", "ecos-cpu"],
                url=self.api,
                health="/health",
                log=self.home / "logs" / "worker.log",
                environment={**self.environment, **WORKER_SETTINGS},
            )
        )

    def ecos(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """The command as a person runs it, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "ecos_cli.main", *map(str, arguments)],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self.answer(method, path, **body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def answer(self, method: str, path: str, /, json: Any = None) -> httpx.Response:
        """SQLite refuses a write beside another: ask again, as Prefect's own client does."""
        for _ in range(20):
            answer = httpx.request(method, f"{self.api}/{path}", json=json, timeout=30)
            if answer.status_code != 503:
                break
            time.sleep(0.3)
        return answer

    def parameters(self, deployment: str, **changes: Any) -> dict[str, Any]:
        """Of a run: the deployment's own with changes, as a person fills in the form."""
        own = json.loads(json.dumps(self.deployments[deployment]["parameters"]))
        merge(own["config"], changes)
        return dict(own)

    def start(self, deployment: str, **changes: Any) -> str:
        made = self.ask(
            "POST",
            f"deployments/{self.deployments[deployment]['id']}/create_flow_run",
            json={"parameters": self.parameters(deployment, **changes), "state": {"type": "SCHEDULED"}},
        )
        return str(made["id"])

    def run(self, run: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"flow_runs/{run}"))

    def wait(self, run: str, seconds: float = 120, states: set[str] = ENDED) -> dict[str, Any]:
        """The run once it is in one of the states."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.run(run)["state"]["type"] in states, seconds)
        found = self.run(run)
        assert found["state"]["type"] in states, f"{found['state']}\n{self.log()}"
        return found

    def ended(self, run: str, wanted: str = "COMPLETED") -> dict[str, Any]:
        """The run, once it has ended as wanted."""
        found = self.wait(run)
        assert found["state"]["type"] == wanted, f"{found['state']}\n{self.log()}"
        return found

    def log(self) -> str:
        file = self.home / "logs" / "worker.log"
        return file.read_text()[-3000:] if file.exists() else "no worker"

    def process_of(self, run: str) -> int:
        """The process that the worker started for a run."""
        for place in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if place.name.isdigit() and run.encode() in (place / "environ").read_bytes():
                    return int(place.name)
        raise AssertionError(f"no process of {run}")


def merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value


def once(when: datetime, slug: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """A schedule that fires once, as the API takes it."""
    rule = f"DTSTART:{when:%Y%m%dT%H%M%SZ}\nRRULE:FREQ=DAILY;COUNT=1"
    schedule = {"rrule": rule, "timezone": "UTC"}
    return {"schedule": schedule, "active": True, "parameters": parameters, "slug": slug}


def kill(process: int) -> None:
    """As a machine that loses its power: no word to anybody."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def setting(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
