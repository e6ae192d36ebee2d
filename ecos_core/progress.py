"""How long work tells the outside how far it is, without knowing who listens.

A core function takes ``progress: ProgressSink = silent`` and calls it at most a few times a second's worth of
work; the command line draws a bar, a Prefect task updates an artifact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` (None: unknown) ``unit`` of ``stage``; ``failures`` counts what was set aside."""

    stage: str
    done: int
    total: int | None = None
    unit: str = "items"
    failures: int = 0


class ProgressSink(Protocol):
    """Anything that can be called with a ``Progress``."""

    def __call__(self, report: Progress, /) -> None: ...


def silent(report: Progress, /) -> None:
    """Discard the report."""
