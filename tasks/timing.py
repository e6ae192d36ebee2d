"""How long the core worked in this process: what a flow takes beyond that is the orchestrator's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_spent = 0.0


@contextmanager
def core_work() -> Iterator[None]:
    """The body counts as the core's work; not to be nested."""
    global _spent
    began = time.perf_counter()
    try:
        yield
    finally:
        _spent += time.perf_counter() - began


def core_seconds() -> float:
    """Seconds so far in this process."""
    return _spent
