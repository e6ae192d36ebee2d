"""From nothing to the first answer: `ecos client serve` on cached features, and the requester's own process.

The clock starts before the service's process does and stops when the requester, a process of its own too, holds
the checked answer. With a warm file cache, and with every file that either process loads put out of it (as far as
the system lets go of files that other programs use).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.privacy import Row, row

BAR_S = 5.0
RECORDS, DIMENSION, CLUSTERS = 5000, 64, 100
ECOS = ("-c", "from ecos_cli.main import main; main()")

ASK = """
import sys, numpy as np
from ecos_core.client.connecting import connect
with connect(sys.argv[1], open(sys.argv[2]).read()) as connection:
    centroids = np.random.default_rng(0).normal(size=(int(sys.argv[3]), int(sys.argv[4])))
    print(connection.score(centroids, sigma=6.12, fingerprint="f").epsilon)
"""
LOADED = """
import sys
import ecos_cli.client, ecos_core.client.engine, ecos_core.client.service, ecos_core.client.requester, uvicorn
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import histogram_event
epsilon_charged([histogram_event(6.12, gamma=0.8)], 1e-5)
print(*{line.split()[-1] for line in open("/proc/self/maps") if "/" in line}, sep="\\n")
print(*{name for module in sys.modules.values() for name in
        (getattr(module, "__file__", None), getattr(module, "__cached__", None)) if name}, sep="\\n")
"""


def startup(quick: bool) -> Iterator[Row]:
    """Started and answered on cached features, in seconds."""
    attempts = 1 if quick else 5
    with tempfile.TemporaryDirectory() as root:
        home = make_home(Path(sys.executable), Path(root))
        ask = partial(first_answer, Path(sys.executable), home, Path(root))
        ask()
        before = children_cpu_s()
        warm = [ask()[0] for _ in range(attempts)]
        busy = (children_cpu_s() - before) / attempts
        yield _row("serve to first answer, files cached (s)", warm, f"{busy:.2f} s of CPU in both processes")
        if quick or not hasattr(os, "posix_fadvise"):
            return
        loaded = run(Path(sys.executable), LOADED).split("\n")
        cold = []
        for _ in range(attempts):
            forget(Path(name) for name in loaded)
            cold.append(ask()[0])
        yield _row(f"serve to first answer, {len(loaded):,} files read from disk (s)", cold)


def _row(name: str, seconds: Sequence[float], more: str = "") -> Row:
    """The best, since other programs only ever add; all of them beside it."""
    found = min(seconds)
    details = [", ".join(f"{value:.2f}" for value in seconds), more]
    return row(name, found, BAR_S, found < BAR_S, "; ".join(filter(None, details)))


def children_cpu_s() -> float:
    """CPU seconds, user and system, of the processes that ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_home(python: Path, folder: Path) -> Path:
    """A client of ready features in ``folder``, made by the command line."""
    features = np.random.default_rng(1).normal(size=(RECORDS, DIMENSION)).astype(np.float32)
    np.save(folder / "features.npy", features)
    home = folder / "home"
    options = [
        "--home",
        home,
        "--features",
        folder / "features.npy",
        "--fingerprint",
        "f",
        "--epsilon",
        "100",
    ]
    run(python, ECOS[1], "client", "init", *options)
    return home


def first_answer(python: Path, home: Path, folder: Path) -> tuple[float, float]:
    """Seconds from starting the service to the requester's checked answer, and its epsilon."""
    ready = folder / "address"
    ready.unlink(missing_ok=True)
    serve = [python, *ECOS, "client", "serve", "--home", home, "--port", "0", "--ready-file", ready]
    began = time.monotonic()
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as service:
        try:
            while not ready.exists():
                if service.poll() is not None:
                    raise RuntimeError("the service ended before it was ready")
                time.sleep(0.01)
            answer = run(python, ASK, ready.read_text(), home / "token", CLUSTERS, DIMENSION)
            return time.monotonic() - began, float(answer)
        finally:
            service.terminate()


def run(python: Path, code: str, *arguments: Any) -> str:
    """What a fresh interpreter prints when it runs ``code``."""
    command = [python, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def forget(files: Iterator[Path]) -> None:
    """Ask the system to drop files from its cache; pages that another process has mapped stay."""
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
