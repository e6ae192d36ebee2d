"""Take everything from this process that a computation does not need: files, network, other processes.

Three layers, each of which may be missing where a system has none: a seccomp filter (Linux; only the calls of a
computation on what is already open are let through), Landlock (Linux 5.13; no path may be opened, no TCP port used,
no signal sent outside) and resource limits (POSIX; no new open file, no file written, no core, bounded memory). None
needs root, and all last until the process ends. Linux's own documentation: seccomp(2), landlock(7).

Stands on the standard library: the data owner installs nothing for it.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

if sys.platform != "win32":
    import resource

_NO_NEW_PRIVILEGES, _DIE_WITH_PARENT, _DUMPABLE, _SIGKILL = 38, 1, 4, 9
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT, _LANDLOCK_ASK_VERSION = 444, 446, 1
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
# Calls on open files, memory, time, threads of this process and its end; by number on x86_64 and aarch64.
_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "poll": (7, None), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "readv": (19, 65), "writev": (20, 66),
    "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233),
    "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160),
    "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179),
    "times": (100, 153), "sigaltstack": (131, 132), "gettid": (186, 178), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "set_tid_address": (218, 96), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "pselect6": (270, 72),
    "ppoll": (271, 73), "set_robust_list": (273, 99), "getcpu": (309, 168), "getrandom": (318, 278),
    "membarrier": (324, 283), "rseq": (334, 293),
}  # fmt: skip
_CLONE, _CLONE_THREAD = (56, 220), 0x00010000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.ENOSYS


def available() -> dict[str, bool]:
    """Which layers this system offers to this process; nothing is changed."""
    return {"seccomp": _machine() is not None, "landlock": _landlock_version() > 0, "limits": _posix()}


def confine(memory_bytes: int) -> list[str]:
    """Apply every layer there is, for good, and name those in force. To be called with one thread."""
    applied = []
    if _linux():
        libc = _libc()
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        libc.prctl(_DIE_WITH_PARENT, _SIGKILL, 0, 0, 0)
        libc.prctl(_DUMPABLE, 0, 0, 0, 0)
    if _landlock_version() > 0 and _landlock():
        applied.append("landlock")
    if _posix():  # after Landlock, which needs one more open file
        _limit(memory_bytes)
        applied.append("limits")
    if _machine() is not None and _seccomp():
        applied.append("seccomp")
    return applied


def _linux() -> bool:
    return sys.platform == "linux"


def _posix() -> bool:
    return sys.platform != "win32"


def _machine() -> str | None:
    """The machine's name where its system calls are known here: 64 bits, little-endian."""
    name = platform.machine()
    return name if _linux() and name in _ARCHITECTURES and sys.maxsize > 2**32 else None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _limit(memory_bytes: int) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        most = resource.getrlimit(limit)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (value, value))


def _landlock_version() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    return max(0, _libc().syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_ASK_VERSION)) if _linux() else 0


def _landlock() -> bool:
    """Handle every right that this kernel knows, and grant none."""
    version, libc = _landlock_version(), _libc()
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    rights = [files] + [0b11] * (version >= 4) + [0b11] * (version >= 6)
    attributes = struct.pack(f"={len(rights)}Q", *rights)
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    return bool(ruleset >= 0 and libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)


def _seccomp() -> bool:
    """Let the listed calls through and answer every other with "no such call"; all threads."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    machine = _machine() or ""
    filter_ = _filter(machine)
    program = Program(len(filter_) // 8, filter_)
    return _libc().syscall(_SECCOMP[machine], 1, 1, ctypes.byref(program)) == 0


def _filter(machine: str) -> bytes:
    """The filter's instructions (Linux, include/uapi/linux/filter.h): code, jumps if true and false, operand."""
    column = list(_ARCHITECTURES).index(machine)
    calls = [number for numbers in _CALLS.values() if (number := numbers[column]) is not None]
    # Behind the calls: refuse; is a clone a thread's?; refuse it if not; allow; kill. Jumps only go forward.
    thread = 5 + len(calls)
    allow, kill = thread + 3, thread + 4

    def step(code: int, operand: int, here: int = 0, yes: int = 0, no: int = 0) -> bytes:
        """``yes`` and ``no``: where to go on; 0: with the next one."""
        jumps = [to - here - 1 if to else 0 for to in (yes, no)]
        return struct.pack("=HBBI", code, *jumps, operand)

    lines = [
        step(_LOAD, 4),
        step(_EQUAL, _ARCHITECTURES[machine], 1, no=kill),
        step(_LOAD, 0),
        step(_EQUAL, _CLONE[column], 3, thread),
        *(step(_EQUAL, number, 4 + place, allow) for place, number in enumerate(calls)),
        step(_RETURN, _REFUSE),
        step(_LOAD, 16),
        step(_ANY_BIT, _CLONE_THREAD, thread + 1, allow),
        step(_RETURN, _REFUSE),
        step(_RETURN, _ALLOW),
        step(_RETURN, _KILL),
    ]
    return b"".join(lines)
