"""A selection: the samples chosen, in order, with the reason of every pick and of everything left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Strings = npt.NDArray[Any]

NEAREST = "nearest the centroid"
FARTHEST = "farthest from those chosen"
REPRESENTATIVE = "represents the cluster best"
RANDOM = "random"


@dataclass(frozen=True)
class Omitted:
    """Samples left out: ``sample_id``, ``cluster`` and ``reason`` [m]; ``at``: the number of picks after
    which each was known to be out."""

    sample_id: Strings
    cluster: Integers
    reason: Strings
    at: Integers

    @classmethod
    def nothing(cls) -> Omitted:
        """Nothing left out."""
        return cls(np.zeros(0, "U1"), np.zeros(0, np.int64), np.zeros(0, "U1"), np.zeros(0, np.int64))

    def before(self, picks: int) -> Omitted:
        """Those known to be out within the first ``picks`` picks."""
        keep = self.at <= picks
        return Omitted(self.sample_id[keep], self.cluster[keep], self.reason[keep], self.at[keep])


@dataclass(frozen=True)
class Selection:
    """The picks of one sampler, [B] each, in the order picked, and what it knew of the clusters, [R] each.

    ``score`` and ``noisy_score`` are a pick's cluster's (NaN where the sampler uses none), ``radius`` its
    k-center radius (NaN where there is none). ``quota`` is its cluster's number of picks plus those
    ``cluster_taken`` before.
    """

    sampler: str
    sample_id: Strings
    cluster: Integers
    radius: npt.NDArray[np.float32]
    reason: Strings
    cluster_size: Integers
    cluster_noisy: Doubles
    cluster_score: Doubles
    cluster_taken: Integers
    omitted: Omitted

    def __len__(self) -> int:
        return len(self.sample_id)

    @property
    def order(self) -> Integers:
        """Place of each pick, int64 [B], from 0."""
        return np.arange(len(self), dtype=np.int64)

    @property
    def cluster_quota(self) -> Integers:
        """Seats of each cluster, int64 [R], those taken before included."""
        picked = np.bincount(self.cluster, minlength=len(self.cluster_size))
        return (picked + self.cluster_taken).astype(np.int64)

    @property
    def quota(self) -> Integers:
        """Seats of each pick's cluster, int64 [B]."""
        return self.cluster_quota[self.cluster]

    @property
    def noisy_score(self) -> Doubles:
        """Of each pick's cluster, float64 [B]; NaN without an answer."""
        return self.cluster_noisy[self.cluster]

    @property
    def score(self) -> Doubles:
        """Of each pick's cluster after denoising, float64 [B]; NaN without an answer."""
        return self.cluster_score[self.cluster]

    def prefix(self, budget: int) -> Selection:
        """The first ``budget`` picks, which are this sampler's answer for that budget. Raises InputError
        beyond B."""
        if not 0 < budget <= len(self):
            raise InputError(
                f"prefix of {budget}: the selection holds {len(self)} samples; ask for 1 to {len(self)}"
            )
        return replace(
            self,
            sample_id=self.sample_id[:budget],
            cluster=self.cluster[:budget],
            radius=self.radius[:budget],
            reason=self.reason[:budget],
            omitted=self.omitted.before(budget),
        )

    def omitted_clusters(self) -> dict[str, npt.NDArray[Any]]:
        """Columns of the clusters that no sample was chosen from, with the reason."""
        rows = np.flatnonzero(np.bincount(self.cluster, minlength=len(self.cluster_size)) == 0)
        return {
            "cluster": rows.astype(np.int32),
            "size": self.cluster_size[rows],
            "noisy_score": self.cluster_noisy[rows],
            "score": self.cluster_score[rows],
            "quota": self.cluster_taken[rows],
            "reason": np.array([self._why_not(int(row)) for row in rows], dtype=object),
        }

    def _why_not(self, cluster: int) -> str:
        if self.cluster_size[cluster] == 0:
            return "empty in the lake"
        if self.cluster_taken[cluster] > 0:
            return "its share was chosen earlier"
        if np.isnan(self.cluster_score[cluster]):
            return "no sample of it came up"
        if self.cluster_score[cluster] == 0:
            return "score is zero after denoising"
        return "its share of the budget is less than one sample"

    def to_tables(self) -> dict[str, pa.Table]:
        """Arrow tables ``selection``, ``omitted_clusters`` and ``omitted_samples`` as in
        docs/data-contracts.md."""
        import pyarrow as pa

        selection = {
            "sample_id": pa.array(self.sample_id.tolist(), pa.string()),
            "cluster": pa.array(self.cluster, pa.int32()),
            "noisy_score": _nullable(self.noisy_score),
            "score": _nullable(self.score),
            "quota": pa.array(self.quota, pa.int64()),
            "order": pa.array(self.order, pa.int64()),
            "radius": _nullable(self.radius),
            "reason": pa.array(self.reason.tolist(), pa.string()),
        }
        clusters = self.omitted_clusters()
        omitted = {
            "cluster": pa.array(clusters["cluster"], pa.int32()),
            "size": pa.array(clusters["size"], pa.int64()),
            "noisy_score": _nullable(clusters["noisy_score"]),
            "score": _nullable(clusters["score"]),
            "quota": pa.array(clusters["quota"], pa.int64()),
            "reason": pa.array(clusters["reason"].tolist(), pa.string()),
        }
        samples = {
            "sample_id": pa.array(self.omitted.sample_id.tolist(), pa.string()),
            "cluster": pa.array(self.omitted.cluster, pa.int32()),
            "reason": pa.array(self.omitted.reason.tolist(), pa.string()),
            "after_picks": pa.array(self.omitted.at, pa.int64()),
        }
        return {
            "selection": pa.table(selection),
            "omitted_clusters": pa.table(omitted),
            "omitted_samples": pa.table(samples),
        }

    def cluster_table(self) -> pa.Table:
        """All clusters: ``cluster, size, noisy_score, score, taken, quota``, for charts and for reading
        back."""
        import pyarrow as pa

        columns = {
            "cluster": pa.array(np.arange(len(self.cluster_size)), pa.int32()),
            "size": pa.array(self.cluster_size, pa.int64()),
            "noisy_score": _nullable(self.cluster_noisy),
            "score": _nullable(self.cluster_score),
            "taken": pa.array(self.cluster_taken, pa.int64()),
            "quota": pa.array(self.cluster_quota, pa.int64()),
        }
        return pa.table(columns)


def _nullable(values: npt.NDArray[np.floating[Any]]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, mask=np.isnan(values))
