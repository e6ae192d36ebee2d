"""How far a cluster reaches: the distance within which 95 % of its own members lie. Public, like the centroids.

A client's record beyond the radius of its nearest centroid is *outside* what the lake covers. The radius is the upper
edge of a bin of 1/1024 of the cluster's largest distance, so that it can be found in one pass over any number of runs,
in memory that does not grow with the lake, and does not depend on the runs' order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.runs import RunDone, RunStatistics
from ecos_core.storage import Location, read_shard

INSIDE = 0.95
BINS = 1024


def cluster_radii(root: Location, runs: Sequence[RunDone], statistics: RunStatistics) -> NDArray[np.float32]:
    """The radius of every cluster, float32 [R]; 0 where a cluster is empty."""
    clusters = len(statistics.sizes)
    counts = np.zeros((clusters, BINS), np.int64)
    for run in runs:
        table = read_shard(root, run.members, ["cluster", "distance"])
        counts += binned(table["cluster"].to_numpy(), table["distance"].to_numpy(), statistics.largest)
    return radii_of(counts, statistics.largest)


def binned(
    cluster: NDArray[np.integer], distance: NDArray[np.float32], largest: NDArray[np.float32]
) -> NDArray[np.int64]:
    """How many members [n] fall into each bin of their cluster, int64 [R, BINS]."""
    reach = np.maximum(largest.astype(np.float64), np.finfo(np.float32).tiny)
    place = np.ceil(distance / reach[cluster] * BINS).astype(np.int64) - 1
    cells = cluster.astype(np.int64) * BINS + np.clip(place, 0, BINS - 1)
    return np.bincount(cells, minlength=len(largest) * BINS).reshape(len(largest), BINS).astype(np.int64)


def radii_of(counts: NDArray[np.int64], largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upper edge of the first bin at which at least ``INSIDE`` of the members are in, float32 [R]."""
    total = counts.sum(axis=1)
    reached = (np.cumsum(counts, axis=1) < INSIDE * total[:, None]).sum(axis=1) + 1
    return np.where(total > 0, largest * (reached / BINS), 0.0).astype(np.float32)


def radii_from_members(
    assignments: NDArray[np.integer], distances: NDArray[np.float32], clusters: int
) -> NDArray[np.float32]:
    """``cluster_radii`` of members in memory: their clusters, int [n], and distances, float32 [n]."""
    largest = np.zeros(clusters, np.float32)
    np.maximum.at(largest, assignments, distances)
    return radii_of(binned(assignments, distances, largest), largest)
