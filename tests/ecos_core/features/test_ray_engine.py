"""A real Ray cluster of several nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor, load_extractor
from ecos_core.features.feature_set import FeatureSet
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    started.add_node(num_cpus=1)
    ray.init(address=started.address, log_to_driver=False)
    yield started
    ray.shutdown()
    started.shutdown()


def extracted(lake: Lake, extractor: Extractor, **options: Any) -> FeatureSet:
    shutil.rmtree(lake.folder("features").path, ignore_errors=True)
    return extract_lake(lake, extractor, **options)


def test_a_node_killed_in_the_middle_loses_nothing(cluster: Any, grow: Callable[[int, int], Lake]) -> None:
    lake, extractor = grow(120, 1), load_extractor(image_size=32)
    alone = extracted(lake, extractor)
    assert len(alone.shards) >= 4
    killed: list[int] = []

    def kill_a_node(report: Progress) -> None:
        if not killed:
            cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
            killed.append(report.done)

    together = extracted(lake, extractor, engine="ray", progress=kill_a_node)
    assert killed and killed[0] < 120
    assert together.digest == alone.digest
