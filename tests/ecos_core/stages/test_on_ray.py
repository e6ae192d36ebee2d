"""The whole cloud side on a real Ray cluster of several nodes on this machine, some killed in the middle."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecos_core.clustering import runs
from ecos_core.clustering.clustering import Clustering, cluster_lake
from ecos_core.clustering.duplicates import find_duplicates
from ecos_core.clustering.pool import LakePool
from ecos_core.clustering.restricted import restricted_pool
from ecos_core.errors import InputError
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor, load_extractor
from ecos_core.features.feature_set import FeatureSet
from ecos_core.features.ray_tasks import run_on_ray
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress, silent
from ecos_core.sampling import SAMPLERS, SamplerConfig, Scores
from ecos_core.sampling.engine_pool import EnginePool
from ecos_core.storage import canonical_json

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=started.address, log_to_driver=False)
    yield started
    ray.shutdown()
    started.shutdown()


class KilledNode:
    """A progress sink that adds a node when made and kills it, ungracefully, at the first report."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.node = cluster, cluster.add_node(num_cpus=1)
        self.killed_at: int | None = None

    def __call__(self, report: Progress, /) -> None:
        if self.killed_at is None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.killed_at = report.done


def extracted(lake: Lake, extractor: Extractor, **options: Any) -> FeatureSet:
    shutil.rmtree(lake.folder("features").path, ignore_errors=True)
    return extract_lake(lake, extractor, **options)


def clustered(lake: Lake, features: FeatureSet, **options: Any) -> Clustering:
    shutil.rmtree(lake.folder("clusters").path, ignore_errors=True)
    return cluster_lake(lake, features, clusters=6, **options)


def picks(pool: Any, sampler: str) -> bytes:
    scores = Scores(np.array([0, 30, 5, 12, 3, 40]), 4.0)
    chosen = SAMPLERS[sampler](pool, 40, scores=scores, config=SamplerConfig(), seed=0)
    return canonical_json({name: table.to_pydict() for name, table in chosen.to_tables().items()})


def test_nodes_killed_in_the_middle_lose_nothing(
    cluster: Any, grow: Callable[[int, int], Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extraction, assignment and the choice: the digests are those of one machine."""
    monkeypatch.setattr(runs, "RUN_BYTES", 40_000)  # several runs
    lake, extractor = grow(120, 1), load_extractor(image_size=32)
    alone = extracted(lake, extractor)
    assert len(alone.shards) >= 4
    killer = KilledNode(cluster)
    features = extracted(lake, extractor, engine="ray", progress=killer)
    assert killer.killed_at is not None and killer.killed_at < 120
    assert features.digest == alone.digest

    here = clustered(lake, features)
    assert len(here.runs) >= 3
    killer = KilledNode(cluster)
    away = clustered(
        lake, features, engine="ray", progress=lambda r: (killer if "assign" in r.stage else silent)(r)
    )
    assert killer.killed_at is not None and killer.killed_at < 120
    assert (away.id, away.manifest.digest) == (here.id, here.manifest.digest)

    find_duplicates(lake, away)
    pool, _ = restricted_pool(LakePool.open(lake))
    killer = KilledNode(cluster)
    assert picks(EnginePool(pool, (), "ray", killer), "ecos") == picks(pool, "ecos")
    assert killer.killed_at == 1


def test_a_task_lost_with_its_node_runs_again(cluster: Any, tmp_path: Path) -> None:
    """Tasks on the second node never end; those on the first wait until one has started there."""
    head = ray.get_runtime_context().get_node_id()

    def hang_away_from_home(folder: str, item: int) -> int:
        away = ray.get_runtime_context().get_node_id() != head
        (Path(folder) / f"{'away' if away else 'home'}-{item}-{uuid.uuid4().hex}").touch()
        for _ in range(1200):
            if not away and list(Path(folder).glob("away-*")):
                break
            time.sleep(0.1)
        return item * item

    node = cluster.add_node(num_cpus=1)
    done: list[int] = []
    for item, result in run_on_ray(hang_away_from_home, range(6), str(tmp_path), gpu=False):
        if not done:
            cluster.remove_node(node, allow_graceful=False)
        assert result == item * item
        done.append(item)
    assert sorted(done) == list(range(6))
    lost = {path.name.split("-")[1] for path in tmp_path.glob("away-*")}
    assert lost and all(list(tmp_path.glob(f"home-{item}-*")) for item in lost)


def test_an_error_comes_back_as_it_was_raised(cluster: Any) -> None:
    def refuse(item: int) -> int:
        raise InputError(f"item {item}: not that one")

    with pytest.raises(InputError, match=r"^item 3: not that one$"):
        list(run_on_ray(refuse, [3], gpu=False))
