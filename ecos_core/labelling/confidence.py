"""How far to believe a label, from public features and the labels themselves: nothing private is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
_ROWS_AT_ONCE = 512


def neighbour_confidence(
    features: NDArray[np.floating], labels: Sequence[str], classes: int, neighbours: int = NEIGHBOURS
) -> NDArray[np.float64]:
    """(same + 1) / (k + classes) of each label's k nearest other samples, [n] in (0, 1).

    ``same`` of the k nearest (L2) have the same label; one vote is added for every class, so that few
    neighbours give a cautious answer (Laplace's rule). Of labels that were released with differential
    privacy this is post-processing and costs nothing.

    Args:
        features: [n, d], finite.
        labels: [n].
        classes: how many labels there are to choose from, at least 2.
    """
    points = np.asarray(features, dtype=np.float32)
    _, given = np.unique(np.asarray(labels), return_inverse=True)
    count = min(neighbours, len(points) - 1)
    if count < 1:
        return np.full(len(points), 1 / classes)
    lengths = (points**2).sum(axis=1)
    same = np.empty(len(points))
    for start in range(0, len(points), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(points)))
        distance = lengths - 2 * (points[rows] @ points.T)
        distance[np.arange(len(rows)), rows] = np.inf
        nearest = np.argpartition(distance, count - 1, axis=1)[:, :count]
        same[rows] = (given[nearest] == given[rows, None]).sum(axis=1)
    found: NDArray[np.float64] = (same + 1) / (count + classes)
    return found
