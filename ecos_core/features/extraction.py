"""Features of a whole lake: shard by shard, only what is missing, then the manifest."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import get_args

from ecos_core.errors import InputError
from ecos_core.features.batches import Reporter
from ecos_core.features.extractor import EXTRACTOR_NAME, Extractor
from ecos_core.features.feature_set import (
    KIND,
    DType,
    FeatureSet,
    ShardDone,
    feature_folder,
    manifest_name,
    read_done,
    shard_stem,
)
from ecos_core.features.lake_projection import project_for_lake
from ecos_core.features.ray_engine import extract_shards_on_ray
from ecos_core.features.ray_tasks import Workplace
from ecos_core.features.shards import extract_shards
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.progress import ProgressSink, silent
from ecos_core.storage import Location, Manifest, write_manifest

__all__ = ["FeatureSet", "extract_lake", "extract_shards"]


def extract_lake(
    lake: Lake,
    extractor: Extractor,
    *,
    snapshot: Snapshot | None = None,
    dtype: DType = "float16",
    projection: int | None = None,
    engine: Workplace = "local",
    workers: int | None = None,
    progress: ProgressSink = silent,
) -> FeatureSet:
    """Extract what is missing of ``snapshot`` (the newest by default) and write its features' manifest.

    ``projection``: PCA to so many numbers, fitted on this lake at its first use. ``engine``: ``local`` (this
    process) or ``ray`` (shard tasks on a Ray cluster). ``workers``: threads, the cores by default. An image
    that cannot be decoded is left out and recorded with its reason. Raises InputError when a feature is not
    finite.
    """
    if dtype not in get_args(DType):
        raise InputError(f"--dtype {dtype}: use float16 or float32")
    snapshot = snapshot or lake.snapshot()
    if projection is not None:
        extractor = project_for_lake(lake, extractor, projection, progress=progress)
    folder = feature_folder(lake, extractor.fingerprint)
    if not (folder / EXTRACTOR_NAME).exists():
        extractor.save(folder)
    done = {shard.sha256: read_done(folder, shard_stem(shard, dtype)) for shard in snapshot.shards}
    missing = [shard for shard in snapshot.shards if done[shard.sha256] is None]
    finished_rows = snapshot.rows - sum(shard.rows for shard in missing)
    report = Reporter(progress, snapshot.rows, finished_rows, "extract features")
    if missing and engine == "ray":
        finished = extract_shards_on_ray(lake, missing, folder, dtype)
    else:
        finished = extract_shards(lake, extractor, missing, folder, dtype, workers=workers)
    for shard, result in finished:
        done[shard.sha256] = result
        report.add(shard.rows, len(result.failures))
    complete = [done[shard.sha256] for shard in snapshot.shards]
    return _publish(folder, extractor, snapshot, dtype, [result for result in complete if result is not None])


def _publish(
    folder: Location, extractor: Extractor, snapshot: Snapshot, dtype: DType, done: Sequence[ShardDone]
) -> FeatureSet:
    reasons = collections.Counter(failure.reason for shard in done for failure in shard.failures)
    manifest = Manifest(
        kind=KIND,
        inputs={"lake": snapshot.id, "extractor": extractor.fingerprint},
        parameters={"dtype": dtype, "dimension": extractor.dimension},
        shards=[shard.record for shard in done],
        summary={"failures": sum(reasons.values()), "reasons": dict(sorted(reasons.items()))},
    )
    write_manifest(folder / "snapshots", manifest, manifest_name(snapshot.id, dtype))
    return FeatureSet(folder, manifest)
