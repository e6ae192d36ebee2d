"""The nearest centroid of every feature, with numpy alone: what the data owner runs, and the CPU path of the
cloud.

||x - c||^2 = ||x||^2 - 2 x.c + ||c||^2: one matrix product a chunk decides which centroid; the distance to
that one is then computed from the difference, so that it does not suffer from the cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError

# Numbers in the matrix of scores of one chunk: 4 MB of float32, which stays in a core's cache.
CHUNK_SCORES = 1 << 20


def nearest(features: NDArray[Any], centroids: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each row of ``features`` [n, d] the nearest of ``centroids`` [R, d]: ids int32 [n], L2 distances
    [n].

    Any floating type goes in. A tie goes to the lower id. Memory beyond the answer is a few megabytes. Raises
    InputError when the widths differ, there is no centroid, or a number is not finite.
    """
    centroids = np.ascontiguousarray(centroids, np.float32)
    _check(features, centroids)
    ids = np.empty(len(features), np.int32)
    distances = np.empty(len(features), np.float32)
    half_norms = 0.5 * np.einsum("rd,rd->r", centroids, centroids, dtype=np.float64).astype(np.float32)
    transposed = centroids.T
    step = max(64, CHUNK_SCORES // len(centroids))
    for start in range(0, len(features), step):
        rows = slice(start, min(start + step, len(features)))
        part = np.ascontiguousarray(features[rows], np.float32)
        scores = part @ transposed
        scores -= half_norms
        ids[rows] = scores.argmax(axis=1)
        part = part - centroids[ids[rows]]
        distances[rows] = np.sqrt(np.einsum("nd,nd->n", part, part))
    if not np.isfinite(distances).all():
        raise InputError("a feature is NaN or infinite: extract the features again")
    return ids, distances


def _check(features: NDArray[Any], centroids: NDArray[np.float32]) -> None:
    if centroids.ndim != 2 or len(centroids) == 0:
        raise InputError("no centroids: cluster the lake first")
    if features.ndim != 2 or features.shape[1] != centroids.shape[1]:
        raise InputError(
            f"features of shape {features.shape} do not fit centroids of {centroids.shape[1]} numbers: "
            "both must come from the same extractor"
        )
    if not np.isfinite(centroids).all():
        raise InputError("a centroid is NaN or infinite: cluster the lake again")
