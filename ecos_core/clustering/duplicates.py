"""Near-duplicates of a clustered lake: pictures that look the same anywhere, features that lie together in a
cluster.

Two finders, one set of groups (the connected components of what both find). Perceptual hashes with thumbnails
(``ecos_core.lake.near_duplicates``) see re-encoded and resized copies across the whole lake. The features of
one cluster see recoloured and mirrored ones: an L2 distance of at most 0.4 of the root mean squared distance
of the lake's features to their centroids, so that it suits any extractor, proposes a pair; thumbnails that
correlate at 0.95 or more, as they are or mirrored, confirm it. On PACS (EfficientNet-Lite0, 128 px) that
leaves six pairs, all the same picture by eye. Few dimensions tell nothing apart: below 64 only the first
finder works. Lakes of texts or tables have no near-duplicates here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.members import Grouped
from ecos_core.clustering.pool import LakePool
from ecos_core.features.lake_extractor import held_modality
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.modality import IMAGE
from ecos_core.lake.near_duplicates import near_duplicates, thumbnails_of
from ecos_core.lake.near_pairs import correlation
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, Manifest, read_manifest, read_shard, write_manifest, write_shard

KIND = "duplicates"
FEATURE_RADIUS = 0.4
LEAST_CORRELATION = 0.95
LEAST_DIMENSION = 64
BLOCK_ROWS = 1024
DIRECTION_ROWS = 2048

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Duplicates:
    """The groups of a clustering: ``grouped`` has the samples in a group of two and more; ``by_picture`` and
    ``by_feature`` count the samples that each finder put into one."""

    grouped: Grouped
    by_picture: int
    by_feature: int
    digest: str

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(np.unique(self.grouped.groups))

    @property
    def superfluous(self) -> int:
        """How many images would go if each group kept one."""
        return len(self.grouped.groups) - self.groups


def find_duplicates(lake: Lake, clustering: Clustering, *, progress: ProgressSink = silent) -> Duplicates:
    """The groups of a clustering; computed once and kept under ``clusters/<id>/duplicates/``.

    Reads every member once. Work within a cluster is quadratic at worst; rows that lie apart along the
    cluster's main direction are not compared.
    """
    known = stored_duplicates(clustering)
    if known is not None:
        return known
    snapshot = lake.snapshot(clustering.snapshot_id)
    if held_modality(lake, snapshot) is not IMAGE:
        return _store(clustering, in_clusters({}, {}), 0, 0, 0.0)
    looks = near_duplicates(lake, snapshot, progress=progress).group_of
    pool = LakePool(lake, clustering)
    radius = FEATURE_RADIUS * float(clustering.summary["mean_square_distance"]) ** 0.5
    telling = clustering.dimension >= LEAST_DIMENSION
    cluster_of: dict[str, int] = {}
    close: Pairs = []
    done = 0
    for cluster, size in enumerate(clustering.cluster_sizes.tolist()):
        if size:
            members = pool.members(cluster)
            found = members.sample_ids[close_pairs(members.features, radius)].tolist() if telling else []
            close += map(tuple, found)
            here = {sample_id for pair in found for sample_id in pair}
            here |= looks.keys() & set(members.sample_ids.tolist())
            cluster_of.update(dict.fromkeys(here, cluster))
        done += size
        progress(Progress("near-duplicates", done, clustering.rows, "images"))
    close = alike(lake, snapshot, close, progress)
    edges = [pair for pair in looks.items() if pair[0] in cluster_of and pair[1] in cluster_of]
    grouped = in_clusters(components([*edges, *close]), cluster_of)
    return _store(clustering, grouped, len(looks), len({one for pair in close for one in pair}), radius)


def alike(lake: Lake, snapshot: Snapshot, pairs: Pairs, progress: ProgressSink = silent) -> Pairs:
    """The pairs whose thumbnails correlate, as they are or one of them mirrored."""
    small = thumbnails_of(lake, snapshot, {sample_id for pair in pairs for sample_id in pair}, progress)

    def same(one: str, two: str) -> bool:
        first, second = small[one], small[two]
        return max(correlation(first, second), correlation(first, second[:, ::-1])) >= LEAST_CORRELATION

    return [pair for pair in pairs if same(*pair)]


def in_clusters(group_of: Mapping[str, str], cluster_of: Mapping[str, int]) -> Grouped:
    """By sample id."""
    ids = sorted(group_of)
    return Grouped(
        np.array(ids, dtype=object),
        np.array([group_of[sample_id] for sample_id in ids], dtype=object),
        np.array([cluster_of[sample_id] for sample_id in ids], dtype=np.int64),
    )


def stored_duplicates(clustering: Clustering) -> Duplicates | None:
    """The groups found before; None when nobody looked."""
    folder = _folder(clustering)
    if not (folder / "manifest.json").exists():
        return None
    manifest = read_manifest(folder, KIND)
    table = read_shard(folder, manifest.shards[0])
    ids, groups = (table[name].to_numpy(zero_copy_only=False) for name in ("sample_id", "group"))
    grouped = Grouped(ids, groups, table["cluster"].to_numpy().astype(np.int64))
    summary = manifest.summary
    return Duplicates(grouped, summary["by_picture"], summary["by_feature"], manifest.digest)


def close_pairs(features: NDArray[Any], radius: float) -> NDArray[np.int64]:
    """All pairs of rows of ``features`` [n, d] within an L2 distance of ``radius``: [m, 2], first < second.

    Rows are sorted along the direction of the largest spread; two that are farther apart than the radius
    there are farther apart in all. Memory: a matrix of 1,024 by the rows in reach.
    """
    features = np.asarray(features, np.float32)
    place = features @ _main_direction(features)
    order = np.argsort(place, kind="stable")
    place, rows = place[order], features[order]
    found = [np.empty((0, 2), np.int64)]
    found += [np.sort(order[pairs], axis=1) for pairs in _pairs_in_reach(rows, place, radius)]
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _pairs_in_reach(
    rows: NDArray[np.float32], place: NDArray[np.float32], radius: float
) -> Iterator[NDArray[np.int64]]:
    squares = np.einsum("nd,nd->n", rows, rows)
    # The expansion of a small squared distance loses digits: propose generously, decide by the difference.
    slack = 1e-4 * float(squares.max(initial=0.0))
    for start in range(0, len(rows), BLOCK_ROWS):
        end = min(start + BLOCK_ROWS, len(rows))
        reach = int(np.searchsorted(place, place[end - 1] + radius, side="right"))
        for other in range(start, reach, 4 * BLOCK_ROWS):
            stop = min(other + 4 * BLOCK_ROWS, reach)
            apart = rows[start:end] @ (-2 * rows[other:stop].T)
            apart += squares[other:stop]
            near, far = np.nonzero(apart <= (radius * radius + slack - squares[start:end])[:, None])
            one, two = near + start, far + other
            one, two = one[one < two], two[one < two]
            exact = np.linalg.norm(rows[one] - rows[two], axis=1) <= radius
            yield np.stack([one[exact], two[exact]], axis=1)


def _main_direction(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A unit vector near the first principal direction, by a few power iterations on an even sample."""
    if not len(features):
        return np.zeros(features.shape[1], np.float32)
    step = max(1, len(features) // DIRECTION_ROWS)
    sample = features[::step] - features[::step].mean(axis=0)
    direction = np.ones(features.shape[1], np.float32)
    for _ in range(8):
        direction = sample.T @ (sample @ direction)
        norm = float(np.linalg.norm(direction))
        if norm == 0:
            return np.zeros(features.shape[1], np.float32)
        direction /= norm
    return direction


def components(pairs: Pairs) -> dict[str, str]:
    """Connected components of two and more: each sample to the smallest id of its component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids = np.array(sorted({sample_id for pair in pairs for sample_id in pair}), dtype=object)
    ends = np.array([pair for pair in pairs if pair[0] != pair[1]], dtype=object).reshape(-1, 2)
    if not len(ends):
        return {}
    place = {sample_id: row for row, sample_id in enumerate(ids.tolist())}
    first, second = ([place[sample_id] for sample_id in column] for column in ends.T.tolist())
    graph = coo_array((np.ones(len(ends), np.int8), (first, second)), shape=(len(ids), len(ids)))
    component = connected_components(graph, directed=False)[1]
    size, smallest = np.bincount(component)[component], np.unique(component, return_index=True)[1]
    return {ids[row]: ids[smallest[component[row]]] for row in np.flatnonzero(size > 1).tolist()}


def _folder(clustering: Clustering) -> Location:
    return clustering.root / clustering.id / "duplicates"


def _store(
    clustering: Clustering, grouped: Grouped, by_picture: int, by_feature: int, radius: float
) -> Duplicates:
    import pyarrow as pa

    folder = _folder(clustering)
    table = pa.table(
        {
            "sample_id": pa.array(grouped.sample_ids, pa.string()),
            "group": pa.array(grouped.groups, pa.string()),
            "cluster": pa.array(grouped.clusters, pa.int32()),
        }
    )
    manifest = Manifest(
        kind=KIND,
        inputs={"clustering": clustering.id, "lake": clustering.snapshot_id},
        parameters={"feature_radius": radius, "of_root_mean_square": FEATURE_RADIUS},
        shards=[write_shard(folder, "groups.parquet", table)],
        summary={"by_picture": by_picture, "by_feature": by_feature},
    )
    return Duplicates(grouped, by_picture, by_feature, write_manifest(folder, manifest))
