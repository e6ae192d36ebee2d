"""Assignment of a lake on disk: consecutive feature shards become one run of members, sorted by cluster.

A run is planned from the manifest alone and bounded in bytes; it is a task by itself, done when its rows,
its statistics and its completion record are on disk. Inside a run the members of a cluster lie together,
nearest first, in row groups of about a megabyte, so that reading one cluster reads little else.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ecos_core.clustering.assignment import nearest
from ecos_core.features.devices import sees_gpu
from ecos_core.features.feature_set import ROW_GROUP_ROWS, FeatureSet, matrix
from ecos_core.features.ray_tasks import Workplace, run_on_ray
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, ShardRecord, canonical_json, read_shard, sha256_hex, write_shard
from ecos_core.threads import available_cores, in_order

if TYPE_CHECKING:
    import pyarrow as pa

RUN_BYTES = 96 * 2**20
ROW_GROUP_BYTES = 2**20
MONTAGE = 8
# Threads that feed a GPU: one reads while the other searches.
GPU_READERS = 2
IMAGE_COLUMNS = ("sample_id", "domain", "label")


@dataclass(frozen=True)
class RunPlan:
    """Feature shards, with the image shards they come from, that become one run. ``name`` follows from
    them."""

    features: tuple[ShardRecord, ...]
    images: tuple[ShardRecord, ...]

    @property
    def name(self) -> str:
        """Follows from the digests of the feature shards."""
        return sha256_hex("".join(shard.sha256 for shard in self.features).encode())[:16]

    @property
    def rows(self) -> int:
        """Images in the run."""
        return sum(shard.rows for shard in self.features)


class RunDone(BaseModel):
    """The completion record of a run: its members, its statistics, and the feature shards that are in it."""

    model_config = ConfigDict(frozen=True)

    members: ShardRecord
    statistics: ShardRecord
    covers: list[str]


@dataclass(frozen=True)
class RunStatistics:
    """Per cluster: ``sizes`` int64, sums of distances and of squares float64, the largest distance float32,
    [R] each;

    and the nearest members: ``nearest_ids`` R lists of at most 8 ids, with ``nearest_distances``.
    """

    sizes: NDArray[np.int64]
    distance_sums: NDArray[np.float64]
    square_sums: NDArray[np.float64]
    largest: NDArray[np.float32]
    nearest_ids: list[list[str]]
    nearest_distances: list[list[float]]


def plan_runs(feature_set: FeatureSet, images: Sequence[ShardRecord], skip: frozenset[str]) -> list[RunPlan]:
    """Group the feature shards, less those whose digest is in ``skip``, into runs of about ``RUN_BYTES``."""
    row_bytes = feature_set.dimension * np.dtype(feature_set.dtype).itemsize
    plans: list[RunPlan] = []
    group: list[tuple[ShardRecord, ShardRecord]] = []
    for pair in zip(feature_set.shards, images, strict=True):
        if pair[0].sha256 in skip:
            continue
        if group and (sum(shard.rows for shard, _ in group) + pair[0].rows) * row_bytes > RUN_BYTES:
            plans.append(_plan(group))
            group = []
        group.append(pair)
    return [*plans, _plan(group)] if group else plans


def _plan(group: Sequence[tuple[ShardRecord, ShardRecord]]) -> RunPlan:
    return RunPlan(tuple(pair[0] for pair in group), tuple(pair[1] for pair in group))


def read_run_done(folder: Location, name: str) -> RunDone | None:
    """The completion record; None while the run is not finished."""
    try:
        done = RunDone.model_validate_json((folder / f"{name}.json").read_bytes())
        intact = all(
            (folder / record.name).size() == record.bytes for record in (done.members, done.statistics)
        )
    except (FileNotFoundError, ValidationError):
        return None
    return done if intact else None


def write_run(
    lake: Lake,
    feature_set: FeatureSet,
    plan: RunPlan,
    centroids: NDArray[np.float32],
    folder: Location,
    *,
    workers: int | None = None,
) -> RunDone:
    """Assign the run's rows and write members, statistics and completion record into ``folder``.

    ``workers``: threads, the cores by default.
    """
    import pyarrow as pa

    assigned = assigned_parts(feature_set.folder / "shards", plan.features, centroids, workers)
    tables, ids, distances = [], [], []
    for features, images in zip(plan.features, plan.images, strict=True):
        parts = list(itertools.islice(assigned, _parts(features)))
        ids += [found for _, found, _ in parts]
        distances += [far for _, _, far in parts]
        tables.append(_with_image_columns(lake, images, pa.concat_tables([part for part, _, _ in parts])))
    cluster, distance = np.concatenate(ids), np.concatenate(distances)
    order = np.lexsort((distance, cluster))
    table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    del tables
    members = table.take(order)
    del table
    members = members.append_column("cluster", pa.array(cluster[order]))
    members = members.append_column("distance", pa.array(distance[order]))
    row_bytes = feature_set.dimension * np.dtype(feature_set.dtype).itemsize + 64
    record = write_shard(
        folder, f"{plan.name}.parquet", members, row_group_rows=max(64, ROW_GROUP_BYTES // row_bytes)
    )
    statistics = _statistics(cluster[order], distance[order], members["sample_id"], len(centroids))
    done = RunDone(
        members=record,
        statistics=write_shard(folder, f"{plan.name}.statistics.parquet", statistics),
        covers=[shard.sha256 for shard in plan.features],
    )
    (folder / f"{plan.name}.json").write_bytes(canonical_json(done.model_dump(mode="json")))
    return done


def assigned_parts(
    folder: Location,
    shards: Iterable[ShardRecord],
    centroids: NDArray[np.float32],
    workers: int | None = None,
) -> Iterator[tuple[pa.Table, NDArray[np.int32], NDArray[np.float32]]]:
    """Feature shards in consecutive parts (``sample_id, feature``), each with cluster and distance of its
    rows.

    Every core reads and searches a part of its own: a reader beside a matrix product on all cores would hold
    up one of its halves.
    """
    from threadpoolctl import threadpool_limits

    assign = assigner(centroids)

    def work(item: tuple[ShardRecord, int]) -> tuple[pa.Table, NDArray[np.int32], NDArray[np.float32]]:
        shard, index = item
        table = read_shard(folder, shard, ["sample_id", "feature"], part=(index, _parts(shard)))
        return table, *assign(matrix(table["feature"], centroids.shape[1]))

    with threadpool_limits(1, user_api="blas"):
        parts = ((shard, index) for shard in shards for index in range(_parts(shard)))
        yield from in_order(
            work, parts, workers=workers or (GPU_READERS if sees_gpu() else available_cores())
        )


def _parts(shard: ShardRecord) -> int:
    return -(-shard.rows // ROW_GROUP_ROWS)


def write_runs(
    lake: Lake,
    feature_set: FeatureSet,
    plans: Sequence[RunPlan],
    centroids: NDArray[np.float32],
    folder: Location,
    *,
    engine: Workplace = "local",
    progress: ProgressSink = silent,
) -> list[RunDone]:
    """Do what is missing of ``plans`` in ``folder``, here or on Ray; all of them, in their order."""
    done = {plan.name: read_run_done(folder, plan.name) for plan in plans}
    missing = [plan for plan in plans if done[plan.name] is None]
    total = sum(plan.rows for plan in plans)
    assigned = total - sum(plan.rows for plan in missing)
    if engine == "ray" and missing:
        where = (str(lake.location), feature_set, centroids, str(folder))
        finished = run_on_ray(_write_on_worker, missing, *where, gpu=True)
    else:
        finished = ((plan, write_run(lake, feature_set, plan, centroids, folder)) for plan in missing)
    for plan, result in finished:
        done[plan.name] = result
        assigned += plan.rows
        progress(Progress("assign to clusters", assigned, total, "images"))
    return [result for result in done.values() if result is not None]


def _write_on_worker(
    lake_url: str,
    feature_set: FeatureSet,
    centroids: NDArray[np.float32],
    folder_url: str,
    plan: RunPlan,
) -> RunDone:
    # One thread: a task asks for one core.
    return write_run(Lake.open(lake_url), feature_set, plan, centroids, Location.of(folder_url), workers=1)


def assigner(
    centroids: NDArray[np.float32],
) -> Callable[[NDArray[Any]], tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """``nearest`` to these centroids: on a GPU that torch sees, else on the CPU."""
    if sees_gpu():
        from ecos_core.clustering.torch_backend import nearest_on_gpu

        return nearest_on_gpu(centroids)
    return functools.partial(nearest, centroids=centroids)


def _with_image_columns(lake: Lake, images: ShardRecord, table: pa.Table) -> pa.Table:
    """Add the lake's domain and label; rows that gave no feature are absent from ``table``."""
    import pyarrow.compute as pc

    facts = lake.read_images(images, IMAGE_COLUMNS)
    if facts.num_rows != table.num_rows:
        facts = facts.take(pc.index_in(table["sample_id"], facts["sample_id"].combine_chunks()))
    return table.append_column("domain", facts["domain"]).append_column("label", facts["label"])


def _statistics(
    cluster: NDArray[np.int32], distance: NDArray[np.float32], ids: Any, clusters: int
) -> pa.Table:
    """One row a cluster, from rows sorted by cluster and distance."""
    import pyarrow as pa

    sizes = np.bincount(cluster, minlength=clusters).astype(np.int64)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    largest = np.where(sizes > 0, distance[np.maximum(ends - 1, 0)], 0)
    counts = np.minimum(sizes, MONTAGE)
    rows = np.repeat(starts, counts) + _ranges(counts)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    wide = distance.astype(np.float64)
    return pa.table(
        {
            "cluster": pa.array(np.arange(clusters), pa.int32()),
            "size": pa.array(sizes),
            "distance_sum": pa.array(np.bincount(cluster, wide, clusters)),
            "square_sum": pa.array(np.bincount(cluster, wide * wide, clusters)),
            "largest_distance": pa.array(largest, pa.float32()),
            "nearest_ids": pa.ListArray.from_arrays(offsets, ids.take(pa.array(rows)).combine_chunks()),
            "nearest_distances": pa.ListArray.from_arrays(offsets, pa.array(distance[rows])),
        }
    )


def _ranges(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0..c-1 for every c, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def read_statistics(folder: Location, record: ShardRecord) -> RunStatistics:
    """Read a run's statistics back."""
    table = read_shard(folder, record)
    return RunStatistics(
        table["size"].to_numpy(),
        table["distance_sum"].to_numpy(),
        table["square_sum"].to_numpy(),
        table["largest_distance"].to_numpy(),
        table["nearest_ids"].to_pylist(),
        table["nearest_distances"].to_pylist(),
    )


def merge_statistics(parts: Sequence[RunStatistics], clusters: int) -> RunStatistics:
    """The statistics of several runs together."""
    zero = np.zeros(clusters)
    ids: list[list[str]] = []
    distances: list[list[float]] = []
    for cluster in range(clusters):
        found = sorted(
            pair
            for part in parts
            for pair in zip(part.nearest_distances[cluster], part.nearest_ids[cluster], strict=True)
        )[:MONTAGE]
        ids.append([pair[1] for pair in found])
        distances.append([pair[0] for pair in found])
    return RunStatistics(
        sum((part.sizes for part in parts), zero.astype(np.int64)),
        sum((part.distance_sums for part in parts), zero),
        sum((part.square_sums for part in parts), zero),
        np.max([zero.astype(np.float32), *(part.largest for part in parts)], axis=0),
        ids,
        distances,
    )
