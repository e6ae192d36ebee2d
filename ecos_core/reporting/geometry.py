"""Two summaries of a selection in feature space, for the report's figures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError


def principal_plane(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Project [n, d] features to their first two principal components, [n, 2].

    Each axis points where its largest coordinate is positive, so the picture does not flip between runs.
    Raises InputError for fewer than two features or a non-finite one.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise InputError(f"map: features {values.shape} must be finite, [n >= 2, d >= 2]")
    centred = values - values.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    plane = axes[:, [-1, -2]]
    largest = np.abs(plane).argmax(axis=0)
    plane = plane * np.sign(plane[largest, [0, 1]])
    return (centred @ plane).astype(np.float32)


def coverage_curve(
    features: NDArray[np.floating], picks: NDArray[np.integer], *, quantile: float = 0.9
) -> NDArray[np.float32]:
    """How well the first 1..b picks cover the features.

    Args:
        features: [n, d] what is to be covered, for example a sample of the lake or of the hot clusters.
        picks: [b] rows of ``features`` in the order picked.
        quantile: which quantile of the distances; 1 is the k-center objective (the covering radius).

    Returns:
        [b] the quantile of the L2 distances from all features to their nearest pick. It never rises.
    """
    values = np.asarray(features, dtype=np.float32)
    rows = np.asarray(picks, dtype=np.int64)
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(values)):
        raise InputError(f"coverage: picks must be rows of the {len(values)} features")
    nearest = np.full(len(values), np.inf, dtype=np.float32)
    curve = np.empty(len(rows), dtype=np.float32)
    for place, row in enumerate(rows):
        nearest = np.minimum(nearest, np.linalg.norm(values - values[row], axis=1))
        curve[place] = np.quantile(nearest, quantile)
    return curve
