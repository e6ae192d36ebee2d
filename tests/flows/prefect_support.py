"""What a Prefect server tells of runs, through its HTTP API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

Found = list[dict[str, Any]]


def ask(url: str, path: str, **wanted: Any) -> Any:
    answer = httpx.post(f"{url}/{path}", json=wanted, timeout=30)
    assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:300]}"
    return answer.json()


def runs_of(url: str, flow: str, limit: int = 50) -> Found:
    """The flow's runs, the newest first."""
    wanted = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": limit}
    found: Found = ask(url, "flow_runs/filter", **wanted)
    return found


def tasks_of(url: str, run: str) -> dict[str, dict[str, Any]]:
    """Task runs by the task's name."""
    found = ask(url, "task_runs/filter", flow_runs={"id": {"any_": [run]}})
    return {task["task_key"].split("-")[0]: task for task in found}


def artifacts_of(url: str, run: str) -> dict[str, dict[str, Any]]:
    found = ask(url, "artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}}, limit=100)
    return {artifact["key"]: artifact for artifact in found}


def all_that_the_server_holds(url: str) -> str:
    """Runs with their parameters, task runs, logs and artifacts, as text."""
    time.sleep(2.5)  # logs are sent every two seconds
    parts = [httpx.post(f"{url}/{kind}/filter", json={"limit": 200}, timeout=30).text
             for kind in ("flow_runs", "task_runs", "artifacts", "logs", "variables")]  # fmt: skip
    return "\n".join(parts)


def wait_for(happened: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = happened()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"did not happen in {seconds:.0f} s")


class InThread(threading.Thread):
    """A call in a thread of its own, with its result or exception."""

    def __init__(self, call: Callable[[], Any]) -> None:
        import contextvars

        super().__init__(daemon=True)
        self._call, self._context = call, contextvars.copy_context()
        self.value: Any = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self._context.run(self._call)
        except Exception as error:
            self.error = error

    def result(self, seconds: float = 60) -> Any:
        self.join(seconds)
        assert not self.is_alive(), f"not done in {seconds:.0f} s"
        if self.error is not None:
            raise self.error
        return self.value
