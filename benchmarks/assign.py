"""Nearest centroids: streaming from Parquet against memory, and against FAISS and scikit-learn."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from benchmarks.k_center import clustered_rows
from benchmarks.timing import compare, timed
from ecos_core.client.kernels.nearest import nearest_centroids
from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.runs import assigned_parts
from ecos_core.features.feature_set import ROW_GROUP_ROWS, column
from ecos_core.storage import Location, ShardRecord, write_shard

Array = np.ndarray[Any, Any]
SHARD_ROWS = 50_000


def run(
    quick: bool = False, rows: int = 200_000, dim: int = 256, clusters: int = 1_000, repeats: int = 3
) -> list[dict[str, Any]]:
    """Bars: streaming at 0.8 x memory; the client, which has no FAISS, at 0.5 x FAISS (exact search)."""
    if quick:
        rows, dim, clusters, repeats = 10_000, 32, 50, 1
    # As stored: float16, so that memory and Parquet hold the same numbers.
    points = clustered_rows(rows, dim, clusters)[0].astype(np.float16).astype(np.float32)
    centroids = points[np.random.default_rng(2).choice(rows, clusters, replace=False)]
    (ids, _), memory_s = timed(lambda: nearest(points, centroids), repeats)
    with tempfile.TemporaryDirectory() as folder:
        where = Location.of(folder)
        shards = _write(where, points)
        streamed, streamed_s = timed(lambda: _stream(where, shards, centroids), repeats)
    found, faiss_s = timed(lambda: _faiss(points, centroids), repeats)
    agree = float((found == ids).mean())
    client, client_s = timed(lambda: np.concatenate(list(nearest_centroids(points, centroids))), repeats)
    exact = float((client == ids).mean())
    argmin, peer_s = timed(lambda: _scikit_learn(points, centroids))
    same = bool((streamed == ids).all())
    near = float((argmin == ids).mean())
    return [
        compare("streaming from Parquet", streamed_s, "in memory", memory_s, 0.8, same=same),
        compare("in memory", memory_s, "faiss.IndexFlatL2", faiss_s, 0.5, same=agree > 0.9999, equal=agree),
        compare("client", client_s, "faiss.IndexFlatL2", faiss_s, 0.5, same=exact > 0.999, equal=exact),
        compare(
            "in memory", memory_s, "sklearn pairwise argmin", peer_s, 1.0, same=near > 0.9999, equal=near
        ),
    ]


def _write(folder: Location, points: Array) -> list[ShardRecord]:
    import pyarrow as pa

    ids = pa.array([f"{row:064d}" for row in range(len(points))])
    table = pa.table({"sample_id": ids, "feature": column(points, "float16")})
    return [
        write_shard(folder, f"{start}.parquet", table.slice(start, SHARD_ROWS), row_group_rows=ROW_GROUP_ROWS)
        for start in range(0, len(points), SHARD_ROWS)
    ]


def _stream(folder: Location, shards: list[ShardRecord], centroids: Array) -> Array:
    """As the lake is assigned."""
    return np.concatenate([ids for _, ids, _ in assigned_parts(folder, shards, centroids)])


def _faiss(points: Array, centroids: Array) -> Array:
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(centroids)
    return np.asarray(index.search(points, 1)[1][:, 0])


def _scikit_learn(points: Array, centroids: Array) -> Array:
    from sklearn.metrics import pairwise_distances_argmin

    return np.asarray(pairwise_distances_argmin(points, centroids))
