"""Extraction as shard tasks on a Ray cluster: the same function, the same bytes, as on one machine.

A task reads one image shard and writes one feature shard, so the lake must be reachable from every node (a
shared folder or an object store). Each worker process loads the model once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from ecos_core.features.extractor import Extractor, load_saved
from ecos_core.features.feature_set import DType, ShardDone
from ecos_core.features.ray_tasks import run_on_ray
from ecos_core.features.shards import extract_shards
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location, ShardRecord


def extract_shards_on_ray(
    lake: Lake, shards: Sequence[ShardRecord], folder: Location, dtype: DType
) -> Iterator[tuple[ShardRecord, ShardDone]]:
    """Extract ``shards`` with the extractor saved in ``folder``; yields each when it is on disk. As
    ``run_on_ray``."""
    return run_on_ray(_extract_shard, shards, str(lake.location), str(folder), dtype, gpu=True)


def _extract_shard(lake_url: str, folder_url: str, dtype: DType, shard: ShardRecord) -> ShardDone:
    lake, folder = Lake.open(lake_url), Location.of(folder_url)
    finished = extract_shards(lake, _extractor(folder_url), [shard], folder, dtype, workers=1)
    return next(done for _, done in finished)


@functools.lru_cache(maxsize=1)
def _extractor(folder_url: str) -> Extractor:
    return load_saved(folder_url)
