"""Where k-means starts: scalable k-means++ on a subsample, then greedy k-means++ over its candidates.

Bahmani et al., *Scalable K-Means++* (PVLDB 2012): a few rounds draw many candidates at once with probability
proportional to their squared distance to those drawn before; each is weighted by the points it stands for.
Arthur and Vassilvitskii, *k-means++* (SODA 2007), with several trials a step, then picks R of them. Rounds are
matrix products, so that a start costs about as much as one iteration of Lloyd's algorithm over the sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.assignment import nearest

ROUNDS = 4
# The subsample holds this many points a centroid.
POINTS_PER_SEED = 20


def seeds(sample: NDArray[np.float32], clusters: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """``clusters`` different rows of ``sample`` [n, d] far from each other: float32 [R, d], R <= n."""
    points = subsample(sample, POINTS_PER_SEED * clusters, generator)
    chosen, weights = _candidates(points, clusters, generator)
    return np.ascontiguousarray(points[chosen[_greedy(points[chosen], weights, clusters, generator)]])


def subsample(sample: NDArray[np.float32], size: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """At most ``size`` rows without replacement, in their order."""
    if size >= len(sample):
        return sample
    return sample[np.sort(generator.choice(len(sample), size, replace=False))]


def _candidates(
    points: NDArray[np.float32], each: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of ``points`` drawn in ``ROUNDS`` of at most ``each``, the first uniformly, and how many points
    each is nearest to."""
    rows = generator.choice(len(points), min(each, len(points)), replace=False)
    owners, distances = nearest(points, points[rows])
    squares = distances.astype(np.float64) ** 2
    owner = rows[owners]
    for _ in range(ROUNDS - 1):
        squares[owner == np.arange(len(points))] = 0.0
        wanted = min(each, int(np.count_nonzero(squares)))
        if wanted == 0:
            break
        drawn = generator.choice(len(points), wanted, replace=False, p=squares / squares.sum())
        found, distances = nearest(points, points[drawn])
        closer = distances.astype(np.float64) ** 2 < squares
        squares[closer] = distances[closer].astype(np.float64) ** 2
        owner[closer] = drawn[found[closer]]
    chosen, weights = np.unique(owner, return_counts=True)
    return chosen, weights.astype(np.float64)


def _greedy(
    candidates: NDArray[np.float32],
    weights: NDArray[np.float64],
    clusters: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Weighted k-means++ that takes the best of 2 + ln(R) draws at each step.

    Where fewer than R candidates differ, some are taken twice; Lloyd's algorithm then splits other clusters.
    """
    norms = np.einsum("cd,cd->c", candidates, candidates)
    trials = 2 + int(np.log(clusters))
    chosen = np.empty(clusters, np.int64)
    squares = np.full(len(candidates), np.inf, np.float32)
    weights = weights.astype(np.float32)
    for step in range(clusters):
        potential = np.cumsum(weights * squares if step else weights, dtype=np.float64)
        drawn = np.searchsorted(potential, generator.random(trials) * potential[-1], side="right")
        drawn = np.minimum(drawn, len(candidates) - 1)
        tried = candidates[drawn]
        left = tried @ candidates.T
        left *= -2
        left += norms
        left += norms[drawn, None]
        np.minimum(left, squares, out=left)
        best = int((left @ weights).argmin())
        chosen[step] = drawn[best]
        squares = np.maximum(left[best], 0, out=squares)
        squares[drawn[best]] = 0
    return chosen
