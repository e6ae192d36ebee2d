"""The nearest centroid of every feature, with numpy alone: what the data owner runs, and the CPU path of the
cloud.

||x - c||^2 = ||x||^2 - 2 x.c + ||c||^2: one matrix product a chunk decides which centroid; the distance to
that one is computed from the difference where the sum cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError

# Numbers in the matrix of scores of one chunk: 4 MB of float32, which stays in a core's cache.
CHUNK_SCORES = 1 << 20
# Below this share of the norms the expansion has lost more than a float32 can spare (7 digits less 2).
CANCELLATION = 0.01
SIGN_EXPONENT_FRACTION = np.int32(-0x70002000)
FLOAT16_SCALE = np.float32(2.0**112)
FLOAT16_END = 65536.0


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
    norms = np.einsum("rd,rd->r", centroids, centroids, dtype=np.float64).astype(np.float32)
    doubled = np.ascontiguousarray(-2 * centroids.T)
    step = min(max(64, CHUNK_SCORES // len(centroids)), max(len(features), 1))
    block = np.empty((step, centroids.shape[1]), np.float32)
    scores = np.empty((step, len(centroids)), np.float32)
    found = np.empty(step, np.intp)
    for start in range(0, len(features), step):
        rows = slice(start, min(start + step, len(features)))
        part, score = block[: rows.stop - start], scores[: rows.stop - start]
        _widen(features[rows], part)
        with np.errstate(invalid="ignore"):
            np.matmul(part, doubled, out=score)
        score += norms
        score.argmin(axis=1, out=found[: len(part)])
        ids[rows] = found[: len(part)]
        distances[rows] = _distances(part, centroids, found[: len(part)], score, norms)
    if not np.isfinite(distances).all():
        raise InputError("a feature is NaN or infinite: extract the features again")
    return ids, distances


def _widen(source: NDArray[Any], out: NDArray[np.float32]) -> None:
    """Copy any floats to float32. float16 goes by its bits, twice as fast as numpy's cast.

    Shifting a float16's exponent and fraction into a float32's place makes a number that is 2^112 too small,
    subnormal numbers included; infinity and NaN would become 65536 and more, so they are looked for.
    """
    if source.dtype != np.float16:
        np.copyto(out, source, casting="same_kind")
        return
    bits = out.view(np.int32)
    np.copyto(bits, source.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, SIGN_EXPONENT_FRACTION, out=bits)
    out *= FLOAT16_SCALE
    if out.size and max(out.max(), -out.min()) >= FLOAT16_END:
        raise InputError("a feature is NaN or infinite: extract the features again")


def _distances(
    part: NDArray[np.float32],
    centroids: NDArray[np.float32],
    ids: NDArray[np.intp],
    scores: NDArray[np.float32],
    norms: NDArray[np.float32],
) -> NDArray[np.float32]:
    """L2 distances of ``part`` to the centroids found; from the difference where the expansion cancels."""
    own = np.einsum("nd,nd->n", part, part)
    with np.errstate(invalid="ignore"):
        squares: NDArray[np.float32] = own + scores[np.arange(len(ids)), ids]
    close = np.flatnonzero(~(squares > CANCELLATION * (own + norms[ids])))
    difference = part[close] - centroids[ids[close]]
    squares[close] = np.einsum("nd,nd->n", difference, difference)
    return np.sqrt(squares)


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
