"""Greedy k-center against what a user would otherwise do; all give the same picks.

Peers, each written from its public description: pairwise updates through scikit-learn (the form of
active-learning toolboxes: ``pairwise_distances`` to the newest centre, then a minimum), the plain
matrix-vector form, and the in-cluster search against the global one. The reference for the picks is the
naive float64 search.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.timing import compare, timed
from ecos_core.sampling.k_center import greedy_k_center

Array = np.ndarray[Any, Any]
NAIVE_ROWS = 10_000


def with_scikit_learn(features: Array, picks: int, first: int) -> list[int]:
    """``sklearn.metrics.pairwise_distances`` between all rows and the newest centre, at every pick."""
    from sklearn.metrics import pairwise_distances

    nearest = pairwise_distances(features, features[[first]]).ravel()
    chosen = [first]
    for _ in range(picks - 1):
        chosen.append(int(nearest.argmax()))
        np.minimum(nearest, pairwise_distances(features, features[[chosen[-1]]]).ravel(), out=nearest)
    return chosen


def with_matrix_vector(features: Array, picks: int, first: int) -> list[int]:
    """``||x||^2 - 2 x.c`` in float32: one pass over all features at every pick."""
    norms = np.einsum("nd,nd->n", features, features)
    nearest = np.full(len(features), np.inf, dtype=np.float32)
    chosen = [first]
    for _ in range(picks):
        centre = chosen[-1]
        np.minimum(nearest, norms - 2.0 * (features @ features[centre]) + norms[centre], out=nearest)
        chosen.append(int(nearest.argmax()))
    return chosen[:picks]


def naive_float64(features: Array, picks: int, first: int) -> list[int]:
    """Differences squared and summed in float64; ties to the lowest row. Reads everything in float64 at
    every pick."""
    nearest = np.full(len(features), np.inf)
    chosen = [first]
    for _ in range(picks):
        for start in range(0, len(features), 2048):
            block = features[start : start + 2048].astype(np.float64) - features[chosen[-1]].astype(
                np.float64
            )
            part = nearest[start : start + 2048]
            np.minimum(part, np.einsum("nd,nd->n", block, block), out=part)
        chosen.append(int(nearest.argmax()))
    return chosen[:picks]


def is_farthest_first(features: Array, chosen: list[int]) -> bool:
    """Whether every pick is the farthest row from those before it, by float64 matrix products over all rows.

    The test of the naive search's picks at a size where that search would take a quarter of an hour.
    """
    centres = features[chosen].astype(np.float64)
    centre_norms = np.einsum("nd,nd->n", centres, centres)
    farthest = np.full(len(chosen), -1, dtype=np.int64)
    largest = np.full(len(chosen), -np.inf)
    for start in range(0, len(features), 2048):
        block = features[start : start + 2048].astype(np.float64)
        squared = np.einsum("nd,nd->n", block, block)[:, None] - 2.0 * (block @ centres.T) + centre_norms
        nearest = np.minimum.accumulate(squared, axis=1)
        rows = nearest.argmax(axis=0)
        better = nearest[rows, np.arange(len(chosen))] > largest
        farthest[better] = start + rows[better]
        largest[better] = nearest[rows[better], np.flatnonzero(better)]
    return farthest[:-1].tolist() == chosen[1:]


def clustered_rows(rows: int, dim: int, clusters: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """(features float32 with the spectrum and spread of image features, assignment, centroids)."""
    rng = np.random.default_rng(seed)
    scales = (1.0 + np.arange(dim)) ** -0.5
    centres = rng.normal(size=(clusters, dim)) * scales
    assigned = rng.integers(clusters, size=rows)
    features = centres[assigned] + 0.7 * rng.normal(size=(rows, dim)) * scales
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features = features.astype(np.float32)
    means = np.stack([features[assigned == r].mean(axis=0) for r in range(clusters)])
    return features, assigned, means


def run(
    quick: bool = False, rows: int = 100_000, dim: int = 512, picks: int = 1_000, clusters: int = 100
) -> list[dict[str, Any]]:
    """Rows for clustered features and for shapeless noise (no structure to prune by)."""
    if quick:
        rows, dim, picks, clusters = 5_000, 64, 100, 20
    results = []
    features, assigned, means = clustered_rows(rows, dim, clusters)
    results += _global_rows("clustered", features, picks, pairwise=True)
    results.append(_in_clusters(features, assigned, means, picks))
    noise = np.random.default_rng(1).normal(size=(rows, dim)).astype(np.float32)
    results += _global_rows("noise", noise, picks, pairwise=False)
    return results


def _global_rows(label: str, features: Array, picks: int, *, pairwise: bool) -> list[dict[str, Any]]:
    ours, seconds = timed(lambda: greedy_k_center(features, picks, first=0).indices.tolist())
    same = is_farthest_first(features, ours)
    if len(features) <= NAIVE_ROWS:
        same = same and ours == naive_float64(features, picks, 0)
    plain, plain_s = timed(lambda: with_matrix_vector(features, picks, 0))
    note = {"peer_same": plain == ours}
    row_name = f"global, {label}"
    rows = [compare(row_name, seconds, "matrix-vector form", plain_s, 1.3, same=same, **note)]
    if pairwise:
        chosen, pairwise_s = timed(lambda: with_scikit_learn(features, picks, 0))
        note = {"peer_same": chosen == ours}
        rows.append(compare(row_name, seconds, "scikit-learn pairwise", pairwise_s, 6.0, same=same, **note))
    return rows


def _in_clusters(features: Array, assigned: Array, means: Array, picks: int) -> dict[str, Any]:
    """The same number of picks, an equal share from each cluster, against our own global search."""
    groups = [features[assigned == r] for r in range(len(means))]
    distances = [np.linalg.norm(g - m, axis=1) for g, m in zip(groups, means, strict=True)]
    share = picks // len(means)

    def search() -> list[list[int]]:
        return [
            greedy_k_center(g, share, first=int(d.argmin()), centroid_distances=d).indices.tolist()
            for g, d in zip(groups, distances, strict=True)
        ]

    ours, seconds = timed(search)
    reference = [naive_float64(g, share, int(d.argmin())) for g, d in zip(groups, distances, strict=True)]
    _, plain_s = timed(lambda: with_matrix_vector(features, picks, 0))
    _, own_s = timed(lambda: greedy_k_center(features, picks, first=0))
    same = ours == reference
    row = compare(f"in {len(means)} clusters", seconds, "global matrix-vector form", plain_s, 5.0, same=same)
    return {**row, "own_global_ratio": own_s / seconds}
