"""How far the clusters of a lake reach. Public, and sent to a client with the centroids.

A client's record beyond the radius of its nearest centroid is *outside* what the lake covers: the radius holds 95 % of
the cluster's own members. It is the upper edge of a bin of 1/1024 of the cluster's largest distance, so that it can be
found in one pass over any number of runs, in memory that does not grow with the lake, and does not depend on the runs'
order. A record that is outside votes for a *region*, about eight clusters that lie near each other: enough to say where
it is, and few enough that the noise of their sum stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.kmeans import fit_kmeans
from ecos_core.clustering.runs import RunDone, RunStatistics
from ecos_core.storage import Location, read_shard, write_shard
from ecos_core.storage.parquet import open_parquet

INSIDE = 0.95
BINS = 1024
CLUSTERS_PER_REGION = 8


@dataclass(frozen=True)
class Reach:
    """Of each cluster: the radius, float32 [R], 0 where it is empty, and its region, int64 [R] in 0..K-1."""

    radii: NDArray[np.float32]
    regions: NDArray[np.int64]

    @classmethod
    def of_runs(
        cls,
        root: Location,
        runs: Sequence[RunDone],
        statistics: RunStatistics,
        centroids: NDArray[np.float32],
    ) -> Reach:
        """Of clusters [R, d] whose members are in these runs."""
        counts = np.zeros((len(centroids), BINS), np.int64)
        for run in runs:
            table = read_shard(root, run.members, ["cluster", "distance"])
            counts += _binned(table["cluster"].to_numpy(), table["distance"].to_numpy(), statistics.largest)
        return cls(_radii(counts, statistics.largest), regions_of(centroids))

    @classmethod
    def of_members(
        cls,
        assignments: NDArray[np.integer],
        distances: NDArray[np.float32],
        centroids: NDArray[np.float32],
    ) -> Reach:
        """Of clusters [R, d] whose members are in memory: the cluster of each, int [n], and its distance, float [n]."""
        largest = np.zeros(len(centroids), np.float32)
        np.maximum.at(largest, assignments, distances)
        return cls(_radii(_binned(assignments, distances, largest), largest), regions_of(centroids))

    def write(self, folder: Location, name: str) -> None:
        """``cluster, radius, region`` as Parquet."""
        import pyarrow as pa

        columns = {
            "cluster": pa.array(np.arange(len(self.radii)), pa.int32()),
            "radius": pa.array(self.radii, pa.float32()),
            "region": pa.array(self.regions, pa.int32()),
        }
        write_shard(folder, name, pa.table(columns))

    @classmethod
    def read(cls, where: Location) -> Reach:
        """Read it back."""
        with where.open_input() as file:
            table = open_parquet(file).read(use_threads=False)
        return cls(table["radius"].to_numpy(), table["region"].to_numpy().astype(np.int64))


def regions_of(centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """The region of every cluster, int64 [R]: k-means over the centroids, one region for eight clusters."""
    count = max(1, len(centroids) // CLUSTERS_PER_REGION)
    if count == 1:
        return np.zeros(len(centroids), np.int64)
    middles = fit_kmeans(centroids, count, seed=0).vectors
    return np.unique(nearest(centroids, middles)[0], return_inverse=True)[1].astype(np.int64)


def _binned(
    cluster: NDArray[np.integer], distance: NDArray[np.float32], largest: NDArray[np.float32]
) -> NDArray[np.int64]:
    """How many members [n] fall into each bin of their cluster, int64 [R, BINS]."""
    reach = np.maximum(largest.astype(np.float64), np.finfo(np.float32).tiny)
    place = np.ceil(distance / reach[cluster] * BINS).astype(np.int64) - 1
    cells = cluster.astype(np.int64) * BINS + np.clip(place, 0, BINS - 1)
    return np.bincount(cells, minlength=len(largest) * BINS).reshape(len(largest), BINS).astype(np.int64)


def _radii(counts: NDArray[np.int64], largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upper edge of the first bin at which at least ``INSIDE`` of the members are in, float32 [R]."""
    total = counts.sum(axis=1)
    reached = (np.cumsum(counts, axis=1) < INSIDE * total[:, None]).sum(axis=1) + 1
    return np.where(total > 0, largest * (reached / BINS), 0.0).astype(np.float32)
