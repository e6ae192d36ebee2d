"""Long work, shown on the run's page: one Prefect progress artifact a stage, updated every few seconds."""

from __future__ import annotations

import re
import time
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.events.worker import EventsWorker
from prefect.logging import get_run_logger
from prefect.logging.handlers import APILogWorker

from ecos_core.progress import Progress, ProgressSink, silent

INTERVAL_S = 2.0
DRAIN_S = 10.0
_terminal: ProgressSink = silent


def also_show(sink: ProgressSink) -> None:
    """Send every report to ``sink`` too: the command that runs a flow in its own process draws bars with it."""
    global _terminal
    _terminal = sink


def send_what_is_left() -> None:
    """Send Prefect's queued logs and events while its server is still up; else they are retried for a minute."""
    APILogWorker.drain_all(timeout=DRAIN_S)
    EventsWorker.drain_all(timeout=DRAIN_S)


def on_terminal(report: Progress) -> None:
    """Report to the terminal alone, from a flow that keeps its own count."""
    _terminal(report)


def artifact_key(name: str) -> str:
    """A Prefect artifact key: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class PrefectProgress:
    """A progress sink for use inside a task. Short work (under one interval) leaves no artifact."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._shown: dict[str, float] = {}
        self._artifacts: dict[str, UUID] = {}

    def __call__(self, report: Progress, /) -> None:
        _terminal(report)
        now = time.monotonic()
        began = self._began.setdefault(report.stage, now)
        ended = report.total is not None and report.done >= report.total
        last = self._shown.get(report.stage, began)
        if now - last < INTERVAL_S and not (ended and report.stage in self._artifacts):
            return
        self._shown[report.stage] = now
        self._show(report, now - began)

    def _show(self, report: Progress, elapsed_s: float) -> None:
        rate = report.done / elapsed_s if elapsed_s > 0 else 0.0
        text = f"{report.stage}: {report.done:,}"
        share = 0.0
        if report.total:
            share = min(100.0, 100.0 * report.done / report.total)
            left = (report.total - report.done) / rate if rate else 0.0
            text += f" of {report.total:,} {report.unit}, {rate:,.0f}/s, about {left:,.0f} s left"
        if report.failures:
            text += f", {report.failures:,} set aside"
        get_run_logger().info(text)
        values: dict[str, Any] = {"progress": share, "description": text}
        if report.stage in self._artifacts:
            update_progress_artifact(self._artifacts[report.stage], **values)
        else:
            made = create_progress_artifact(key=artifact_key(f"progress-{report.stage}"), **values)
            self._artifacts[report.stage] = cast(UUID, made)
