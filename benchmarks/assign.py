"""Nearest centroids: numpy alone (the data owner's path) against FAISS, and streaming from Parquet against
memory.

The peer of the first is ``faiss.IndexFlatL2.search``; the ids must be the same. The second reads the run
format's input, float16 Parquet shards, and is compared with the same search over the same rows held in
memory.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.k_center import clustered_rows
from benchmarks.timing import compare, timed
from ecos_core.clustering.assignment import nearest
from ecos_core.features.feature_set import column, matrix, read_ahead
from ecos_core.storage import Location, ShardRecord, read_shard, write_shard

Array = np.ndarray[Any, Any]
SHARD_ROWS = 50_000


def run(
    quick: bool = False, rows: int = 400_000, dim: int = 256, clusters: int = 1_000, repeats: int = 3
) -> list[dict[str, Any]]:
    """Two rows: without FAISS at least half its rate; streaming at least 80 % of the rate in memory."""
    if quick:
        rows, dim, clusters, repeats = 20_000, 64, 100, 1
    features, _, centroids = clustered_rows(rows, dim, clusters)
    centroids = centroids.astype(np.float32)
    size = {"rows": rows, "dim": dim, "clusters": clusters}
    (ids, _), ours_s = timed(lambda: nearest(features, centroids), repeats)
    found, faiss_s = timed(lambda: with_faiss(features, centroids), repeats)
    agree = float((ids == found).mean())
    rows_out = [
        compare("numpy", ours_s, "faiss IndexFlatL2", faiss_s, 0.5, same=agree > 0.9999, agree=agree, **size)
    ]
    half = features.astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        where = Location.of(Path(folder))
        shards = write_shards(where, half)
        memory, memory_s = timed(lambda: nearest(half, centroids)[0], repeats)
        streamed, stream_s = timed(lambda: stream(where, shards, centroids, dim), repeats)
    same = bool(np.array_equal(memory, streamed))
    rows_out.append(compare("streaming", stream_s, "in memory", memory_s, 0.8, same=same, **size))
    return rows_out


def with_faiss(features: Array, centroids: Array) -> Array:
    import faiss

    index = faiss.IndexFlatL2(features.shape[1])
    index.add(centroids)
    ids: Array = index.search(features, 1)[1][:, 0]
    return ids


def write_shards(where: Location, features: Array) -> list[ShardRecord]:
    import pyarrow as pa

    records = []
    for start in range(0, len(features), SHARD_ROWS):
        part = features[start : start + SHARD_ROWS]
        table = pa.table({"feature": column(part, "float16")})
        records.append(write_shard(where, f"{start}.parquet", table))
    return records


def stream(where: Location, shards: list[ShardRecord], centroids: Array, dim: int) -> Array:
    """As the lake's assignment does: the next shard is read while this one is searched."""
    tables = read_ahead(lambda shard: read_shard(where, shard), shards)
    return np.concatenate([nearest(matrix(table["feature"], dim), centroids)[0] for table in tables])
