"""One cluster's samples, as a sampler sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grouped:
    """The samples that are in a group of near-duplicates: id, group and cluster of each, [m], by id.

    A group is named by one of its samples' ids. Everything else of the pool stands alone.
    """

    sample_ids: NDArray[Any]
    groups: NDArray[Any]
    clusters: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> Grouped:
        """Those at ``rows``, indices or a mask."""
        return Grouped(self.sample_ids[rows], self.groups[rows], self.clusters[rows])


@dataclass(frozen=True)
class Members:
    """One cluster's samples, in an order that never changes.

    ``sample_ids`` str [n]; ``distances`` float32 [n], L2 to the centroid; ``features`` float32 [n, d];
    ``labels``, ``domains`` and ``duplicate_groups`` are [n], or None where the lake has none. Equal
    duplicate groups mark near-duplicates; an empty string or a negative number says that the sample is in no
    group.
    """

    sample_ids: NDArray[Any]
    distances: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[Any] | None = None
    domains: NDArray[Any] | None = None
    duplicate_groups: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def take(self, rows: NDArray[np.integer[Any]]) -> Members:
        """The members at ``rows``, in that order."""

        def pick(column: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if column is None else column[rows]

        return Members(
            self.sample_ids[rows],
            self.distances[rows],
            self.features[rows],
            pick(self.labels),
            pick(self.domains),
            pick(self.duplicate_groups),
        )
