"""The features of one lake snapshot under one extractor: immutable shards beside the lake's, and a manifest.

A shard is done when both its Parquet file and its completion record (rows, digest, what could not be
decoded) are there. The same shard serves every later snapshot that contains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.lake import Lake
from ecos_core.storage import (
    Location,
    Manifest,
    ShardRecord,
    canonical_json,
    read_manifest,
    read_shard,
    write_shard,
)
from ecos_core.threads import read_ahead

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "features"
# Small enough that all cores find work in one shard.
ROW_GROUP_ROWS = 16_384
DType = Literal["float16", "float32"]


class Failure(BaseModel):
    """An image of the lake that gave no feature."""

    model_config = ConfigDict(frozen=True)

    sample_id: str
    reason: str
    detail: str


class ShardDone(BaseModel):
    """The completion record of one feature shard."""

    model_config = ConfigDict(frozen=True)

    record: ShardRecord
    failures: list[Failure] = []


@dataclass(frozen=True)
class FeatureShard:
    """``sample_ids`` pyarrow strings [n]; ``features`` float16 or float32 [n, d], in the lake shard's
    order."""

    sample_ids: pa.Array
    features: NDArray[Any]


@dataclass(frozen=True)
class FeatureSet:
    """All features of a snapshot. Get one from ``extract_lake`` or ``FeatureSet.open``."""

    folder: Location
    manifest: Manifest

    @classmethod
    def open(
        cls, lake: Lake, fingerprint: str, snapshot_id: str | None = None, dtype: DType = "float16"
    ) -> FeatureSet:
        """The finished features of a snapshot (the newest by default). Raises InputError when there are
        none."""
        folder = feature_folder(lake, fingerprint)
        name = manifest_name(lake.snapshot(snapshot_id).id, dtype)
        return cls(folder, read_manifest(folder / "snapshots", KIND, name))

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.manifest.inputs["extractor"]

    @property
    def snapshot_id(self) -> str:
        """Of the lake."""
        return self.manifest.inputs["lake"]

    @property
    def digest(self) -> str:
        """Of the manifest, 64 hex digits."""
        return self.manifest.digest

    @property
    def rows(self) -> int:
        """Samples in all shards."""
        return self.manifest.rows

    @property
    def dimension(self) -> int:
        """Numbers in a feature."""
        return int(self.manifest.parameters["dimension"])

    @property
    def dtype(self) -> str:
        """float16 or float32, as stored."""
        return str(self.manifest.parameters["dtype"])

    @property
    def shards(self) -> list[ShardRecord]:
        """Records of the shards, in the lake's order."""
        return list(self.manifest.shards)

    def read(self, shard: ShardRecord) -> FeatureShard:
        """One shard. Raises IntegrityError when it is missing or broken."""
        table = read_shard(self.folder / "shards", shard, ["sample_id", "feature"])
        return FeatureShard(table["sample_id"].combine_chunks(), matrix(table["feature"], self.dimension))

    def __iter__(self) -> Iterator[FeatureShard]:
        return read_ahead(self.read, self.shards)

    def load(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Everything: sample ids [n] (objects) and features float32 [n, d]. For lakes that fit in memory."""
        parts = list(self)
        ids = [part.sample_ids.to_numpy(zero_copy_only=False) for part in parts]
        features = [part.features.astype(np.float32) for part in parts]
        if not parts:
            return np.empty(0, object), np.empty((0, self.dimension), np.float32)
        return np.concatenate(ids), np.concatenate(features)

    def of(self, sample_ids: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
        """Those of the samples that have a feature, [n] in the given order, and theirs, float32 [n, d]."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(sample_ids, pa.string())
        found: dict[str, NDArray[np.float32]] = {}
        for shard in self:
            rows = np.flatnonzero(pc.is_in(shard.sample_ids, value_set=wanted).to_numpy(zero_copy_only=False))
            ids = shard.sample_ids.take(pa.array(rows)).to_pylist()
            found.update(zip(ids, shard.features[rows].astype(np.float32), strict=True))
        ids = [sample_id for sample_id in sample_ids if sample_id in found]
        features = np.empty((len(ids), self.dimension), np.float32)
        for row, sample_id in enumerate(ids):
            features[row] = found[sample_id]
        return ids, features

    def sample(self, count: int, seed: int) -> NDArray[np.float32]:
        """``min(count, rows)`` different rows in the lake's order, float32 [m, d]; the same for the same
        seed."""
        count = min(count, self.rows)
        chosen = np.sort(np.random.default_rng(seed).choice(self.rows, count, replace=False))
        sample = np.empty((count, self.dimension), np.float32)
        first = filled = 0
        for record in self.shards:
            end = int(np.searchsorted(chosen, first + record.rows))
            if end > filled:
                sample[filled:end] = self.read(record).features[chosen[filled:end] - first]
            filled, first = end, first + record.rows
        return sample


def feature_folder(lake: Lake, fingerprint: str) -> Location:
    """Where the features of an extractor lie in a lake."""
    return lake.folder("features") / fingerprint


def manifest_name(snapshot_id: str, dtype: DType) -> str:
    """Of a snapshot's features: its id, and the dtype where it is not float16."""
    return f"{snapshot_id}{_suffix(dtype)}.json"


def _suffix(dtype: DType) -> str:
    return "" if dtype == "float16" else f".{dtype}"


def shard_stem(image_shard: ShardRecord, dtype: DType) -> str:
    """The name, without extension, of the feature shard of an image shard."""
    return f"{image_shard.sha256}{_suffix(dtype)}"


def read_done(folder: Location, stem: str) -> ShardDone | None:
    """The completion record; None while the shard is not finished, or when its file is gone or cut short."""
    try:
        done = ShardDone.model_validate_json((folder / "shards" / f"{stem}.json").read_bytes())
        intact = (folder / "shards" / done.record.name).size() == done.record.bytes
    except (FileNotFoundError, ValidationError):
        return None
    return done if intact else None


def write_done(
    folder: Location,
    stem: str,
    sample_ids: list[str],
    features: NDArray[np.float32],
    dtype: DType,
    failures: list[Failure],
) -> ShardDone:
    """Write a feature shard, then its completion record."""
    import pyarrow as pa

    table = pa.table({"sample_id": pa.array(sample_ids, pa.string()), "feature": column(features, dtype)})
    record = write_shard(folder / "shards", f"{stem}.parquet", table, row_group_rows=ROW_GROUP_ROWS)
    done = ShardDone(record=record, failures=failures)
    (folder / "shards" / f"{stem}.json").write_bytes(canonical_json(done.model_dump(mode="json")))
    return done


def column(features: NDArray[Any], dtype: DType) -> pa.Array:
    """[n, d] as ``fixed_size_list<dtype>[d]``. Raises InputError when a value does not fit the type."""
    import pyarrow as pa

    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(features, dtype=dtype)
    if not np.isfinite(values).all():
        raise InputError(f"a feature is not finite as {dtype}: use  --dtype float32, or normalised features")
    # Elements that cannot be null are read in two thirds of the time.
    element = pa.field("item", pa.from_numpy_dtype(values.dtype), nullable=False)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.reshape(-1)), type=pa.list_(element, features.shape[1])
    )


def matrix(stored: pa.ChunkedArray, dimension: int) -> NDArray[Any]:
    """``fixed_size_list[d]`` as an array [n, d], without a copy where it is one chunk."""
    if len(stored) == 0:
        return np.empty((0, dimension), np.float16)
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension) for chunk in stored.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_finite(features: NDArray[Any], where: str) -> None:
    """Raises IntegrityError when stored features hold NaN or infinity."""
    if not np.isfinite(features).all():
        raise IntegrityError(where, "finite features", "NaN or infinity")
