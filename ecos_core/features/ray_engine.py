"""Extraction as shard tasks on a Ray cluster: the same function, the same bytes, as on one machine.

A task reads one image shard and writes one feature shard, so the lake must be reachable from every node (a
shared folder or an object store). Each worker process loads the model once. A task lost with its node runs
again elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from ecos_core.errors import MissingDependencyError
from ecos_core.features.extractor import Extractor, load_saved
from ecos_core.features.feature_set import DType, ShardDone
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location, ShardRecord

TASKS_AHEAD = 2


def extract_shards_on_ray(
    lake: Lake, shards: Sequence[ShardRecord], folder: Location, dtype: DType
) -> Iterator[tuple[ShardRecord, ShardDone]]:
    """Extract ``shards`` with the extractor saved in ``folder``; yields each when it is on disk.

    Joins the cluster of ``RAY_ADDRESS``, or the one already joined, or starts one on this machine. A GPU is
    asked for a task where the cluster has any. Raises MissingDependencyError without Ray.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    resources = ray.cluster_resources()
    gpus = 1 if resources.get("GPU", 0) >= 1 else 0
    task = ray.remote(_extract_shard).options(num_cpus=1, num_gpus=gpus, max_retries=-1)
    slots = int(resources.get("GPU", 0)) if gpus else int(resources.get("CPU", 1))
    yield from _keep_busy(ray, task, lake, shards, folder, dtype, ahead=max(1, slots) * TASKS_AHEAD)


def _keep_busy(
    ray: Any, task: Any, lake: Lake, shards: Sequence[ShardRecord], folder: Location, dtype: DType, ahead: int
) -> Iterator[tuple[ShardRecord, ShardDone]]:
    """Hold ``ahead`` tasks in flight; the scheduler's memory does not grow with the lake."""
    waiting: dict[Any, ShardRecord] = {}
    todo = iter(shards)
    while True:
        while len(waiting) < ahead and (shard := next(todo, None)) is not None:
            waiting[task.remote(str(lake.location), str(folder), shard.model_dump(), dtype)] = shard
        if not waiting:
            return
        ready, _ = ray.wait(list(waiting), num_returns=1)
        for reference in ready:
            yield waiting.pop(reference), ShardDone.model_validate(ray.get(reference))


def _extract_shard(lake_url: str, folder_url: str, shard: dict[str, Any], dtype: DType) -> dict[str, Any]:
    """Runs on a worker; strings and plain dictionaries in and out."""
    from ecos_core.features.extraction import extract_shards

    record, folder = ShardRecord.model_validate(shard), Location.of(folder_url)
    finished = extract_shards(Lake.open(lake_url), _extractor(folder_url), [record], folder, dtype, workers=1)
    return next(done for _, done in finished).model_dump(mode="json")


@functools.lru_cache(maxsize=1)
def _extractor(folder_url: str) -> Extractor:
    return load_saved(folder_url)
