"""A clustered lake on disk, read one cluster at a time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.members import Members
from ecos_core.clustering.runs import read_statistics
from ecos_core.errors import InputError
from ecos_core.features.feature_set import matrix
from ecos_core.lake.lake import Lake
from ecos_core.storage import ShardRecord
from ecos_core.storage.parquet import open_parquet

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("sample_id", "distance", "feature", "domain", "label")


@dataclass(frozen=True)
class LakePool:
    """What a sampler sees of a clustering: sizes, centroids, and the members of one cluster at a time."""

    lake: Lake
    clustering: Clustering

    @classmethod
    def open(cls, lake: Lake, clustering_id: str | None = None) -> LakePool:
        """The pool of the newest clustering, or of the one named. Raises InputError when there is none."""
        return cls(lake, Clustering.open(lake, clustering_id))

    @property
    def size(self) -> int:
        """Images in all clusters."""
        return self.clustering.rows

    @property
    def cluster_sizes(self) -> NDArray[np.int64]:
        """int64 [R]."""
        return self.clustering.cluster_sizes

    @property
    def centroids(self) -> NDArray[np.float32]:
        """float32 [R, d]."""
        return self.clustering.centroids

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.clustering.fingerprint

    @functools.cached_property
    def _runs(self) -> list[_Run]:
        return [
            _Run(
                self.clustering,
                run.members,
                np.cumsum(read_statistics(self.clustering.root, run.statistics).sizes),
            )
            for run in self.clustering.runs
        ]

    def sample_ids(self, cluster: int) -> NDArray[Any]:
        """The ids of one cluster's members, in their order; their features are not read."""
        import pyarrow as pa

        tables = [run.read(cluster, ("sample_id",)) for run in self._runs]
        return _strings(pa.concat_tables(tables)["sample_id"]) if tables else np.empty(0, dtype=object)

    def members(self, cluster: int) -> Members:
        """One cluster's members: run by run, nearest first in each. Raises InputError for an unknown
        cluster."""
        import pyarrow as pa

        if not 0 <= cluster < self.clustering.clusters:
            raise InputError(f"no cluster {cluster}: there are {self.clustering.clusters}")
        tables = [run.read(cluster) for run in self._runs]
        table = pa.concat_tables(tables) if tables else pa.table({})
        return Members(
            _strings(table["sample_id"]),
            table["distance"].to_numpy(),
            matrix(table["feature"], self.clustering.dimension).astype(np.float32),
            _strings(table["label"]),
            _strings(table["domain"]),
        )


@dataclass(frozen=True)
class _Run:
    """One file of members and where each cluster ends in it."""

    clustering: Clustering
    record: ShardRecord
    ends: NDArray[np.int64]

    @functools.cached_property
    def _metadata(self) -> Any:
        with (self.clustering.root / self.record.name).open_input() as file:
            return open_parquet(file).metadata

    @functools.cached_property
    def _group_ends(self) -> NDArray[np.int64]:
        groups = range(self._metadata.num_row_groups)
        return np.cumsum([self._metadata.row_group(group).num_rows for group in groups])

    def read(self, cluster: int, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """The rows of one cluster."""
        end = int(self.ends[cluster])
        start = int(self.ends[cluster - 1]) if cluster else 0
        first = int(np.searchsorted(self._group_ends, start, side="right"))
        last = int(np.searchsorted(self._group_ends, max(end - 1, start), side="right"))
        groups = list(range(first, last + 1)) if end > start else []
        with (self.clustering.root / self.record.name).open_input() as file:
            parquet = open_parquet(file, metadata=self._metadata)
            table = parquet.read_row_groups(groups, columns=list(columns), use_threads=False)
        skipped = int(self._group_ends[first - 1]) if first else 0
        return table.slice(start - skipped, end - start)


def _strings(column: pa.ChunkedArray) -> NDArray[Any]:
    """A numpy array of objects; None where there is no value."""
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values
