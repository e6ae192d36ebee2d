"""Features of a whole lake: shard by shard, only what is missing, decoding and forward passes side by side.

On a CPU every worker thread takes a batch from bytes to features (Pillow and ONNX Runtime release the interpreter's
lock), so no queue stands between decoding and the network. On a GPU the workers decode and one thread feeds the
device. The composition of a batch is fixed by the shard, so that the bytes written do not depend on the workers.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.features.extractor import EXTRACTOR_NAME, Extractor
from ecos_core.features.feature_set import (
    KIND,
    DType,
    Failure,
    FeatureSet,
    ShardDone,
    feature_folder,
    manifest_name,
    read_done,
    shard_stem,
    write_done,
)
from ecos_core.features.projection import Projection, fit_projection
from ecos_core.lake.decode import BadImage
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, Manifest, ShardRecord, write_manifest

STAGE = "extract features"
PROJECTION_SAMPLE = 20_000
PROJECTION_SHARDS = 64
READ_COLUMNS = ("sample_id", "bytes", "uri")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Batch:
    """Rows of one image shard. ``last`` says that the shard ends here."""

    shard: ShardRecord
    sample_ids: list[str]
    images: list[bytes | None]
    uris: list[str | None]
    last: bool


@dataclass(frozen=True)
class _Extracted:
    batch: _Batch
    sample_ids: list[str]
    pixels: NDArray[np.uint8] | None
    features: NDArray[np.float32] | None
    failures: list[Failure]


@dataclass
class _Gathered:
    """What has been extracted of a shard so far."""

    sample_ids: list[str] = field(default_factory=list)
    features: list[NDArray[np.float32]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def extract_lake(
    lake: Lake,
    extractor: Extractor,
    *,
    snapshot: Snapshot | None = None,
    dtype: DType = "float16",
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    progress: ProgressSink = silent,
) -> FeatureSet:
    """Extract what is missing of ``snapshot`` (the newest by default) and write its features' manifest.

    ``engine``: ``local`` (this process) or ``ray`` (shard tasks on a Ray cluster). ``workers``: threads, the cores by
    default. An image that cannot be decoded is left out and recorded with its reason. Raises InputError when a
    feature is not finite.
    """
    snapshot = snapshot or lake.snapshot()
    folder = feature_folder(lake, extractor.fingerprint)
    if not (folder / EXTRACTOR_NAME).exists():
        extractor.save(folder)
    done = {shard.sha256: read_done(folder, shard_stem(shard, dtype)) for shard in snapshot.shards}
    missing = [shard for shard in snapshot.shards if done[shard.sha256] is None]
    report = _Reporter(progress, snapshot.rows, sum(shard.rows for shard in snapshot.shards if shard not in missing))
    if missing and engine == "ray":
        from ecos_core.features.ray_engine import extract_shards_on_ray

        finished = extract_shards_on_ray(lake, missing, folder, dtype)
    else:
        finished = extract_shards(lake, extractor, missing, folder, dtype, workers=workers)
    for shard, result in finished:
        done[shard.sha256] = result
        report.add(shard.rows, len(result.failures))
    complete = [done[shard.sha256] for shard in snapshot.shards]
    return _publish(folder, extractor, snapshot, dtype, [result for result in complete if result is not None])


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
    for result in _extract_batches(extractor, _batches(lake, shards, extractor.batch_images), workers):
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


def fit_lake_projection(
    lake: Lake, extractor: Extractor, dimension: int, *, seed: int = 0, progress: ProgressSink = silent
) -> Projection:
    """PCA on the features of up to 20,000 images drawn from up to 64 shards of the newest snapshot.

    ``extractor`` must have no projection yet. Raises InputError when ``dimension`` is more than the sample allows.
    """
    generator = np.random.default_rng(seed)
    shards = lake.snapshot().shards
    picked = sorted(generator.choice(len(shards), min(PROJECTION_SHARDS, len(shards)), replace=False))
    quota = -(-PROJECTION_SAMPLE // len(picked))
    report = _Reporter(progress, sum(min(quota, shards[index].rows) for index in picked), 0, "fit the projection")
    features = []
    for index in picked:
        shard = shards[index]
        rows = np.sort(generator.choice(shard.rows, min(quota, shard.rows), replace=False))
        batches = _batches(lake, [shard], extractor.batch_images, rows)
        for result in _extract_batches(extractor, batches, None):
            report.add(len(result.batch.sample_ids), len(result.failures))
            if result.features is not None:
                features.append(result.features)
    if not features:
        raise InputError(f"{lake.location}: no image could be decoded, so there is nothing to fit a projection on")
    return fit_projection(np.concatenate(features), dimension)


def _batches(
    lake: Lake, shards: Sequence[ShardRecord], size: int, rows: NDArray[np.int64] | None = None
) -> Iterator[_Batch]:
    """The images of ``shards`` (of those only ``rows``, when given) in batches that never cross a shard."""
    for shard in shards:
        table = lake.read_images(shard, READ_COLUMNS)
        if rows is not None:
            table = table.take(rows)
        for start in range(0, max(table.num_rows, 1), size):
            part = table.slice(start, size)
            yield _Batch(
                shard,
                part["sample_id"].to_pylist(),
                part["bytes"].to_pylist(),
                part["uri"].to_pylist(),
                start + size >= table.num_rows,
            )


def _extract_batches(
    extractor: Extractor, batches: Iterable[_Batch], workers: int | None
) -> Iterator[_Extracted]:
    workers = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def work(batch: _Batch) -> _Extracted:
        decoded = _decode(extractor, batch)
        return _forward(extractor, decoded) if extractor.engine.parallel else decoded

    with ThreadPoolExecutor(workers, thread_name_prefix="extract") as pool:
        for result in _in_order(pool, work, batches, ahead=2 * workers):
            yield result if extractor.engine.parallel else _forward(extractor, result)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """``pool.map`` that holds no more than ``ahead`` items at once."""
    waiting: collections.deque[Future[Result]] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _decode(extractor: Extractor, batch: _Batch) -> _Extracted:
    sample_ids, pixels, failures = [], [], []
    for sample_id, data, uri in zip(batch.sample_ids, batch.images, batch.uris, strict=True):
        try:
            pixels.append(extractor.prepare(_image_bytes(data, uri)))
            sample_ids.append(sample_id)
        except BadImage as error:
            failures.append(Failure(sample_id=sample_id, reason=error.reason, detail=error.detail))
        except FileNotFoundError:
            failures.append(Failure(sample_id=sample_id, reason="missing", detail=str(uri)))
    return _Extracted(batch, sample_ids, np.stack(pixels) if pixels else None, None, failures)


def _image_bytes(data: bytes | None, uri: str | None) -> bytes:
    return data if data is not None else Location.of(str(uri)).read_bytes()


def _forward(extractor: Extractor, decoded: _Extracted) -> _Extracted:
    features = None if decoded.pixels is None else extractor.forward(decoded.pixels)
    return _Extracted(decoded.batch, decoded.sample_ids, None, features, decoded.failures)


class _Reporter:
    def __init__(self, progress: ProgressSink, total: int, done: int, stage: str = STAGE) -> None:
        self._progress, self._total, self._done, self._failures, self._stage = progress, total, done, 0, stage

    def add(self, rows: int, failures: int) -> None:
        self._done += rows
        self._failures += failures
        self._progress(Progress(self._stage, self._done, self._total, "images", self._failures))


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
