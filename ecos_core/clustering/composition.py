"""What the clusters of a lake are made of: their images counted by a column of the lake, such as the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.clustering import Clustering
from ecos_core.features.feature_set import FeatureSet
from ecos_core.lake.lake import Lake
from ecos_core.storage import read_shard

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Composition:
    """``counts`` int64 [R, S]: images of each cluster by the ``names`` [S] of the column, sorted."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    def leading(self, clusters: list[int], *, share: float = 0.2) -> list[str]:
        """The names that hold at least ``share`` of the images of these clusters, the largest first."""
        total = self.counts[clusters].sum(axis=0)
        order = np.argsort(-total, kind="stable")
        return [self.names[row] for row in order if total[row] > 0 and total[row] >= share * total.sum()]


def composition(lake: Lake, clustering: Clustering, column: Literal["source", "domain"]) -> Composition:
    """Count the members of every cluster. Reads the ids and one column of the lake, a run at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    features = FeatureSet.open(
        lake, clustering.fingerprint, clustering.snapshot_id, clustering.manifest.parameters["dtype"]
    )
    images = lake.snapshot(clustering.snapshot_id).shards
    image_of = {shard.sha256: image for shard, image in zip(features.shards, images, strict=True)}
    counts: dict[str, NDArray[np.int64]] = {}
    for run in clustering.runs:
        members = read_shard(clustering.root, run.members, ["sample_id", "cluster"])
        covered = [image_of[digest] for digest in run.covers if digest in image_of]
        facts = pa.concat_tables([lake.read_images(shard, ["sample_id", column]) for shard in covered])
        found = pc.index_in(members["sample_id"], facts["sample_id"].combine_chunks())
        values = pc.fill_null(facts[column].take(found), NOT_STATED).to_numpy(zero_copy_only=False)
        clusters = members["cluster"].to_numpy()
        for name in np.unique(values.astype(str)):
            here = np.bincount(clusters[values == name], minlength=clustering.clusters)
            counts[name] = counts.get(name, np.zeros(clustering.clusters, np.int64)) + here
    names = tuple(sorted(counts))
    return Composition(names, np.stack([counts[name] for name in names], axis=1))
