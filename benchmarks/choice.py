"""The choice inside clusters against what a user would otherwise do: time, and how well the picks serve all rows.

Peers: the lazy greedy of submodlib and apricot (the extra ``bench``) on the same similarity, the
largest squared distance less the squared distance, up to the sizes that they can hold; and k-means by FAISS with the
member nearest each centre. The objective is the mean squared distance of all rows to their nearest pick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.timing import compare, timed
from ecos_core.errors import MissingDependencyError
from ecos_core.sampling.facility import greedy_facility_location

Array = np.ndarray[Any, Any]
PEERS_HOLD = 5_000  # their kernels are dense
CASES = ((2_000, 100), (5_000, 200), (20_000, 200), (100_000, 1_000))
QUICK = ((400, 20), (1_500, 60))
WORSE_BY = 1.002  # than exact lazy greedy, at most
KMEANS_PASSES = 10


def blobs(rows: int, centres: int, dim: int, seed: int = 0) -> Array:
    """float32 [rows, dim] about ``centres`` points."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((centres, dim))
    noise = 0.75 * rng.standard_normal((rows, dim))
    return (middles[rng.integers(centres, size=rows)] + noise).astype(np.float32)


def similarity(features: Array) -> Array:
    squares = np.einsum("nd,nd->n", features, features)
    squared = np.maximum(squares[:, None] - 2.0 * (features @ features.T) + squares, 0.0)
    return np.asarray(squared.max() - squared, dtype=np.float64)


def submodlib(features: Array, picks: int) -> list[int]:
    """Lazy greedy facility location of submodlib (decile-team)."""
    try:
        from submodlib import FacilityLocationFunction
    except ImportError as error:
        raise MissingDependencyError("submodlib-py", "bench") from error
    function = FacilityLocationFunction(
        n=len(features), mode="dense", sijs=similarity(features), separate_rep=False
    )
    return [row for row, _ in function.maximize(budget=picks, optimizer="LazyGreedy", show_progress=False)]


def apricot(features: Array, picks: int) -> list[int]:
    """Lazy greedy facility location of apricot (Schreiber, Bilmes, Noble 2020)."""
    try:
        from apricot import FacilityLocationSelection
    except ImportError as error:
        raise MissingDependencyError("apricot-select", "bench") from error
    chosen = FacilityLocationSelection(picks, metric="precomputed", optimizer="lazy").fit(
        similarity(features)
    )
    return [int(row) for row in chosen.ranking]


def kmeans_members(features: Array, picks: int) -> list[int]:
    """k-means by FAISS, then the member nearest each centre."""
    import faiss

    fitted = faiss.Kmeans(features.shape[1], picks, niter=KMEANS_PASSES, seed=1, min_points_per_centroid=1)
    fitted.train(features)
    index = faiss.IndexFlatL2(features.shape[1])
    index.add(features)
    return np.unique(index.search(fitted.centroids, 1)[1]).tolist()


def objective(features: Array, picks: list[int]) -> float:
    """Mean squared distance to the nearest pick."""
    chosen = features[picks]
    norms = np.einsum("nd,nd->n", chosen, chosen)
    nearest = []
    for start in range(0, len(features), 4096):
        block = features[start : start + 4096]
        squared = np.einsum("nd,nd->n", block, block)[:, None] - 2.0 * (block @ chosen.T) + norms
        nearest.append(squared.min(axis=1))
    return float(np.concatenate(nearest).mean(dtype=np.float64))


def run(quick: bool = False, dim: int = 128, centres: int = 50) -> list[dict[str, Any]]:
    """A row a case and peer: ``ratio`` of time; ``objective`` and the peer's; the bars of both."""
    greedy_facility_location(blobs(300, 5, dim), 5)  # the first product starts the threads
    results = []
    for rows, picks in QUICK if quick else CASES:
        features = blobs(rows, centres, dim)
        ours, seconds = timed(lambda: greedy_facility_location(features, picks).indices.tolist(), 3)  # noqa: B023
        reached = objective(features, ours)
        prefix = greedy_facility_location(features, picks // 2).indices.tolist() == ours[: picks // 2]
        peers: list[tuple[str, Callable[[Array, int], list[int]], float, float]] = [
            ("k-means and nearest member", kmeans_members, 0.0, 1.0)
        ]
        if rows <= PEERS_HOLD:
            fast = 10.0 if rows == PEERS_HOLD else 0.0
            peers += [
                ("submodlib, lazy greedy", submodlib, fast, WORSE_BY),
                ("apricot, lazy greedy", apricot, 0.0, WORSE_BY),
            ]
        for name, peer, bar, worse_by in peers:
            theirs, peer_s = timed(lambda: peer(features, picks))  # noqa: B023
            against = objective(features, theirs)
            row = compare(
                f"{rows:,} rows, {picks:,} picks",
                seconds,
                name,
                peer_s,
                bar,
                same=prefix and reached <= worse_by * against,
            )
            results.append({**row, "objective": reached, "peer_objective": against})
    return results
