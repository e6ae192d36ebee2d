"""What the speed benchmarks share: time a call, compare with a peer."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

Result = TypeVar("Result")


def timed(call: Callable[[], Result], repeats: int = 1) -> tuple[Result, float]:
    """(result, median seconds over ``repeats`` calls)."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, median(seconds)


def compare(
    name: str, ours_s: float, peer: str, peer_s: float, bar: float, *, same: bool = True, **more: Any
) -> dict[str, Any]:
    """A row: ``ratio`` is how many times faster than the peer; ``ok`` asks for ``bar`` and for ``same``
    results."""
    ratio = peer_s / ours_s
    row = {"name": name, "ours_s": ours_s, "peer": peer, "peer_s": peer_s, "ratio": ratio, "bar": bar}
    return {**row, "same": same, **more, "ok": bool(ratio >= bar and same)}
