"""The time that the ledger believes has passed, without a clock that it can trust.

Every entry carries the wall clock (for people), the machine's running time since its start with that start's random
name, and the *age*: the seconds that the ledger believes have passed since it was made. While the machine runs the age
grows with its running time, which nobody can set: a wall clock set forward (or back) changes nothing, whether the
client runs or not. Over a restart of the machine only the wall clock is left, and the age grows by what it moved
forward: whoever can restart the owner's machine with another time can refresh a requester's budget, never the total.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Where the system does not name its starts, every process is one.
_THIS_PROCESS = uuid.uuid4().hex


@dataclass(frozen=True)
class Moment:
    """Seconds: ``time`` of the epoch, ``age`` of the ledger, ``uptime`` since the start named ``boot``."""

    time: float = 0.0
    age: float = 0.0
    boot: str = ""
    uptime: float = 0.0

    @classmethod
    def of(cls, body: Mapping[str, Any], before: Moment) -> Moment:
        """An entry's moment. Entries of older versions have a wall clock only."""
        if "age" in body:
            return cls(body["time"], body["age"], body["boot"], body["uptime"])
        return cls(body["time"], before.age + max(0.0, body["time"] - before.time) if before.time else 0.0)

    def next(self) -> Moment:
        """Now, when this was the last entry's."""
        wall, (boot, uptime) = time.time(), running_time()
        passed = uptime - self.uptime if boot == self.boot else wall - self.time
        return Moment(wall, self.age + max(0.0, passed) if self.time else 0.0, boot, uptime)


def running_time() -> tuple[str, float]:
    """The name of the machine's start and the seconds since, those asleep included."""
    try:
        return BOOT_ID.read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return _THIS_PROCESS, time.monotonic()
