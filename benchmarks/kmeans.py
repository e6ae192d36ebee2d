"""Our k-means against bare FAISS, scikit-learn's KMeans and MiniBatchKMeans: seconds and inertia.

All run on the same float32 rows, with the same number of iterations (scikit-learn stops earlier when it has
converged). Inertia is measured for all in the same way, over all rows.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.k_center import clustered_rows
from benchmarks.timing import compare, timed
from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.backends import choose_backend
from ecos_core.clustering.kmeans import fit_kmeans

Array = np.ndarray[Any, Any]
ITERATIONS = 25


def run(
    quick: bool = False, rows: int = 200_000, dim: int = 256, clusters: int = 1_000, repeats: int = 3
) -> list[dict[str, Any]]:
    """Rows of our default backend against each peer, and of the torch backend against the default one."""
    if quick:
        rows, dim, clusters, repeats = 10_000, 64, 100, 1
    features, _, _ = clustered_rows(rows, dim, clusters // 2)
    ours, seconds = timed(
        lambda: fit_kmeans(features, clusters, seed=1, iterations=ITERATIONS).vectors, repeats
    )
    bare, bare_s = timed(lambda: bare_faiss(features, clusters), repeats)
    sklearn, sklearn_s = timed(lambda: scikit_learn(features, clusters))
    small, small_s = timed(lambda: mini_batch(features, clusters))
    other, other_s = timed(lambda: fit_kmeans(features, clusters, seed=1, backend="torch").vectors)
    own = inertia(features, ours)
    size = {"rows": rows, "dim": dim, "clusters": clusters, "inertia": own}
    found = {name: inertia(features, vectors) for name, vectors in _named(bare, sklearn, small, other)}
    return [
        _row("k-means", seconds, "bare faiss.Kmeans", bare_s, 1 / 1.05, 1.005, own, found["bare"], size),
        _row("k-means", seconds, "scikit-learn KMeans", sklearn_s, 5.0, 1.02, own, found["sklearn"], size),
        _row("k-means", seconds, "MiniBatchKMeans", small_s, 0.0, 1.0, own, found["small"], size),
        _row(
            "k-means, torch backend",
            other_s,
            "our FAISS backend",
            seconds,
            0.0,
            1.02,
            found["other"],
            own,
            size,
        ),
    ]


def _named(*vectors: Array) -> list[tuple[str, Array]]:
    return list(zip(("bare", "sklearn", "small", "other"), vectors, strict=True))


def _row(
    name: str,
    ours_s: float,
    peer: str,
    peer_s: float,
    bar: float,
    worst: float,
    own: float,
    theirs: float,
    size: dict[str, Any],
) -> dict[str, Any]:
    """``worst``: how large our inertia may be as a share of the peer's."""
    return compare(
        name,
        ours_s,
        peer,
        peer_s,
        bar,
        same=own <= worst * theirs,
        inertia_ratio=own / theirs,
        worst=worst,
        **size,
    )


def inertia(features: Array, centroids: Array) -> float:
    """Mean squared distance."""
    return float((nearest(features, centroids)[1].astype(np.float64) ** 2).mean())


def bare_faiss(features: Array, clusters: int) -> Array:
    import faiss

    kmeans = faiss.Kmeans(
        features.shape[1], clusters, niter=ITERATIONS, seed=1, max_points_per_centroid=10**6
    )
    kmeans.train(features)
    vectors: Array = kmeans.centroids
    return vectors


def scikit_learn(features: Array, clusters: int) -> Array:
    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = KMeans(clusters, n_init=1, max_iter=ITERATIONS, random_state=1).fit(features)
    vectors: Array = fitted.cluster_centers_
    return vectors


def mini_batch(features: Array, clusters: int) -> Array:
    from sklearn.cluster import MiniBatchKMeans

    fitted = MiniBatchKMeans(clusters, n_init=1, batch_size=4096, random_state=1).fit(features)
    vectors: Array = fitted.cluster_centers_
    return vectors
