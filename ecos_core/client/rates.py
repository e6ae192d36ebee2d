"""How often a name may do something in a minute."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from time import monotonic

NAMES_KEPT = 10_000
WINDOW_S = 60.0


class Rate:
    """At most ``limit`` times in any minute for each name. Thread-safe; bounded in memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, name: str) -> bool:
        """Count one more, unless ``name`` has had its share. The names longest unheard of are forgotten."""
        now = monotonic()
        with self._lock:
            recent = self._recent.setdefault(name, deque())
            self._recent.move_to_end(name)
            while len(self._recent) > NAMES_KEPT:
                self._recent.popitem(last=False)
            while recent and recent[0] <= now - WINDOW_S:
                recent.popleft()
            if len(recent) >= self.limit:
                return False
            recent.append(now)
            return True
