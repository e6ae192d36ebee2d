"""Where the time of a whole run goes, and the orchestrator's share of it: at most a tenth.

* ``demo``: ``ecos demo`` on embedded images, as a user runs it, in a fresh folder.
* ``a million features``: a flow on a real Prefect server clusters a synthetic lake, asks a real client over a
  socket, and chooses. Its stages, and what of its wall time was no stage's own work: the server's start,
  task states, artefacts, the client's answer deadline excepted, which is part of the scoring.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.client import points
from benchmarks.scale import FINGERPRINT, SyntheticLake
from ecos_core.client.home import init_home_from_features
from ecos_core.client.policy import Policy
from ecos_core.progress import ProgressSink, silent

Row = dict[str, Any]
SHARE_BAR = 0.1
CLIENT_RECORDS = 20_000


def run(
    quick: bool = False,
    rows: int = 1_000_000,
    dim: int = 128,
    clusters: int = 1_000,
    budget: int = 10_000,
    scratch: str = "",
    progress: ProgressSink = silent,
) -> list[Row]:
    """A row a run: its stages in seconds and Prefect's share of the wall time."""
    if quick:
        rows, dim, clusters, budget = 20_000, 16, 20, 200
    with tempfile.TemporaryDirectory(dir=scratch or None) as folder:
        home = Path(folder)
        results = [] if quick else [_demo(home / "demo")]
        lake = SyntheticLake(home / "lake", dim)
        lake.grow_to(rows, progress)
        results.append(_flow(home, lake, clusters, budget))
    return results


def _demo(home: Path) -> Row:
    command = [sys.executable, "-m", "ecos_cli.main", "demo", "--home", str(home), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures = json.loads(done.stdout)
    return _row("ecos demo", figures["seconds"], figures["prefect_share"])


def _flow(home: Path, lake: SyntheticLake, clusters: int, budget: int) -> Row:
    """Cluster, score and choose as tasks of one flow; the server is already up, as it is for a scheduled run."""
    from ecos_cli.demo import point_at_server
    from ecos_cli.local_services import LOOPBACK, free_port, prefect_server, python, running

    policy = Policy(epsilon=10.0, delta=1e-5)
    features = points(CLIENT_RECORDS, lake.dim)
    init_home_from_features(home / "client", policy, features=features, fingerprint=FINGERPRINT)
    token = home / "client" / "token"
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    serve = python("ecos_cli.main", "client", "serve", "--home", str(home / "client"), "--port", str(port))
    log = home / "logs" / "client.log"
    with (
        prefect_server(home, free_port()) as prefect,
        running("the client", serve, url=address, health="/v1/health", log=log),
    ):
        point_at_server(home, prefect.url)
        began = time.perf_counter()
        stages = _tasks(str(lake.lake.location), home / "out", address, token, clusters, budget)
        wall = time.perf_counter() - began
    share = 1 - sum(stages.values()) / wall
    name = f"{lake.rows:,} features, R = {clusters:,}, B = {budget:,}"
    return {**_row(name, wall, share), **{f"{stage}_s": took for stage, took in stages.items()}}


def _tasks(
    location: str, out: Path, address: str, token: Path, clusters: int, budget: int
) -> dict[str, float]:
    from prefect import flow, task

    from ecos_core.clustering.clustering import Clustering
    from ecos_core.config import ClientConfig, IndexConfig, SampleConfig
    from ecos_core.features.feature_set import FeatureSet
    from ecos_core.lake.lake import Lake
    from ecos_core.stages.indexing import cluster
    from tasks.progress import PrefectProgress, send_what_is_left
    from tasks.sampling import open_sampling, select_subset
    from tasks.scoring import score_with_client
    from tasks.timing import core_seconds, core_work

    config = IndexConfig(lake=location, clusters=clusters, sources=[])
    client = ClientConfig(url=address, token_file=str(token))
    wanted = SampleConfig(lake=location, out=str(out), budget=budget, seed=1, client=client)

    @task(name="cluster")
    def cluster_features() -> Clustering:
        with core_work():
            features = FeatureSet.open(Lake.open(location), FINGERPRINT)
            return cluster(config, features, progress=PrefectProgress()).clustering

    @flow(name="profile", persist_result=False)
    def profile() -> dict[str, float]:
        marks = [core_seconds()]
        cluster_features()
        marks.append(core_seconds())
        selecting = open_sampling(wanted)
        scores = score_with_client(selecting, client, wanted.privacy, selecting.lake.folder("scores"))
        marks.append(core_seconds())
        select_subset(selecting, scores)
        marks.append(core_seconds())
        names = ("cluster", "score", "select")
        return {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}

    stages: dict[str, float] = profile()
    send_what_is_left()
    return stages


def _row(name: str, wall_s: float, share: float) -> Row:
    return {
        "name": name,
        "wall_s": wall_s,
        "prefect_share": share,
        "bar": SHARE_BAR,
        "ok": share <= SHARE_BAR,
    }
