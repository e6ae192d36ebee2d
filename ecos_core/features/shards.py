"""Features of single shards, one after the other: what one machine and each task of a Ray cluster do alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ecos_core.features.batches import extract_batches, image_batches
from ecos_core.features.extractor import Extractor
from ecos_core.features.feature_set import DType, Failure, ShardDone, shard_stem, write_done
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location, ShardRecord


@dataclass
class _Gathered:
    """What has been extracted of a shard so far."""

    sample_ids: list[str] = field(default_factory=list)
    features: list[NDArray[np.float32]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def extract_shards(
    lake: Lake,
    extractor: Extractor,
    shards: Sequence[ShardRecord],
    folder: Location,
    dtype: DType,
    *,
    workers: int | None = None,
) -> Iterator[tuple[ShardRecord, ShardDone]]:
    """Extract and write ``shards`` one after the other; yields each when its completion record is on disk."""
    gathered = _Gathered()
    for result in extract_batches(extractor, image_batches(lake, shards, extractor.batch_images), workers):
        gathered.sample_ids += result.sample_ids
        gathered.failures += result.failures
        if result.features is not None:
            gathered.features.append(result.features)
        if result.batch.last:
            features = np.concatenate([np.empty((0, extractor.dimension), np.float32), *gathered.features])
            stem = shard_stem(result.batch.shard, dtype)
            yield (
                result.batch.shard,
                write_done(folder, stem, gathered.sample_ids, features, dtype, gathered.failures),
            )
            gathered = _Gathered()
