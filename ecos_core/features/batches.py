"""Batches of a lake's images on their way to features: decoding and forward passes side by side.

On a CPU every worker thread takes a batch from bytes to features (Pillow and ONNX Runtime release the
interpreter's lock), so no queue stands between decoding and the network. On a GPU the workers decode and one
thread feeds the device. The composition of a batch is fixed by the shard, so that the features do not depend
on the workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.features.extractor import Extractor
from ecos_core.features.feature_set import Failure
from ecos_core.lake.decode import BadSample
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress, ProgressSink
from ecos_core.storage import Location, ShardRecord
from ecos_core.threads import available_cores, in_order

READ_COLUMNS = ("sample_id", "bytes", "uri")


@dataclass(frozen=True)
class Batch:
    """Rows of one image shard. ``last`` says that the shard ends here."""

    shard: ShardRecord
    sample_ids: list[str]
    images: list[bytes | None]
    uris: list[str | None]
    last: bool


@dataclass(frozen=True)
class Extracted:
    """A batch after extraction: ``sample_ids`` and ``features`` [n, d] of what could be decoded, and the failures."""

    batch: Batch
    sample_ids: list[str]
    prepared: NDArray[Any] | None
    features: NDArray[np.float32] | None
    failures: list[Failure]


def image_batches(
    lake: Lake, shards: Sequence[ShardRecord], size: int, rows: NDArray[np.int64] | None = None
) -> Iterator[Batch]:
    """The images of ``shards`` (of those only ``rows``, when given) in batches that never cross a shard."""
    for shard in shards:
        table = lake.read_images(shard, READ_COLUMNS)
        if rows is not None:
            table = table.take(rows)
        for start in range(0, max(table.num_rows, 1), size):
            part = table.slice(start, size)
            yield Batch(
                shard,
                part["sample_id"].to_pylist(),
                part["bytes"].to_pylist(),
                part["uri"].to_pylist(),
                start + size >= table.num_rows,
            )


def extract_batches(
    extractor: Extractor, batches: Iterable[Batch], workers: int | None
) -> Iterator[Extracted]:
    """Extract batches in threads (None: a thread a core), in their order."""
    workers = workers or available_cores()

    def work(batch: Batch) -> Extracted:
        decoded = _decode(extractor, batch)
        return _forward(extractor, decoded) if extractor.engine.parallel else decoded

    for result in in_order(work, batches, workers=workers):
        yield result if extractor.engine.parallel else _forward(extractor, result)


def _decode(extractor: Extractor, batch: Batch) -> Extracted:
    sample_ids, prepared, failures = [], [], []
    for sample_id, data, uri in zip(batch.sample_ids, batch.images, batch.uris, strict=True):
        try:
            prepared.append(extractor.prepare(_image_bytes(data, uri)))
            sample_ids.append(sample_id)
        except BadSample as error:
            failures.append(Failure(sample_id=sample_id, reason=error.reason, detail=error.detail))
        except FileNotFoundError:
            failures.append(Failure(sample_id=sample_id, reason="missing", detail=str(uri)))
    return Extracted(batch, sample_ids, np.stack(prepared) if prepared else None, None, failures)


def _image_bytes(data: bytes | None, uri: str | None) -> bytes:
    return data if data is not None else Location.of(str(uri)).read_bytes()


def _forward(extractor: Extractor, decoded: Extracted) -> Extracted:
    features = None if decoded.prepared is None else extractor.forward(decoded.prepared)
    return Extracted(decoded.batch, decoded.sample_ids, None, features, decoded.failures)


class Reporter:
    """Counts images and tells the sink."""

    def __init__(self, progress: ProgressSink, total: int, done: int, stage: str) -> None:
        self._progress, self._total, self._done, self._failures, self._stage = progress, total, done, 0, stage

    def add(self, rows: int, failures: int) -> None:
        """Count finished rows, and failures among them."""
        self._done += rows
        self._failures += failures
        self._progress(Progress(self._stage, self._done, self._total, "images", self._failures))
