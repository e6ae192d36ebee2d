"""kill -9 while a lake is extracted and clustered: the next run goes on, and ends in the same digests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecos_core.lake.lake import Lake

KILLS = 20
CHILD = """
import os
import signal
import sys
from ecos_core.clustering import runs
from ecos_core.clustering.clustering import cluster_lake
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor
from ecos_core.features.preprocessing import Preprocessing
from ecos_core.lake.lake import Lake
from lake_support import ColourEngine

left = int(sys.argv[1])  # writes that may be finished before the end comes, in the middle of the next
finish_write = os.replace

def write_or_die(*names):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    finish_write(*names)

os.replace = write_or_die
runs.RUN_BYTES = 2_000
preprocessing = Preprocessing(image_size=32, mean=(0, 0, 0), std=(1, 1, 1))
extractor = Extractor("colour", "0" * 64, preprocessing, True, None, ColourEngine())
lake = Lake.open(sys.argv[2])
features = extract_lake(lake, extractor)
clustering = cluster_lake(lake, features, clusters=12)
print(features.digest, clustering.id, clustering.manifest.digest)
"""


def index(lake: Path, writes: int = 1_000_000) -> tuple[int, str]:
    """Exit status and what was printed of a run that is killed after so many writes."""
    tests = Path(__file__).resolve().parents[2]
    paths = f"{tests.parent}{os.pathsep}{tests}"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(writes), str(lake)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(280)
def test_random_kills_change_nothing(tmp_path: Path, grow: Callable[[int, int], Lake]) -> None:
    killed = Path(grow(400, 1).location.path)
    whole = tmp_path / "whole"
    shutil.copytree(killed, whole)
    _, undisturbed = index(whole)
    rng = np.random.default_rng(3)
    died = [index(killed, int(rng.integers(1, 5)))[0] == -signal.SIGKILL for _ in range(KILLS)]
    assert all(died[: KILLS // 2]), "too few writes to be killed in"
    assert (status := index(killed)) == (0, undisturbed), status
