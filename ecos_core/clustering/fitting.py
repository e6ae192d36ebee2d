"""What k-means is asked for, and the one shape of whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FitOptions:
    """What k-means is asked for. ``clusters`` >= 1; ``iterations`` of Lloyd's algorithm; ``seed`` of the
    start."""

    clusters: int
    seed: int
    iterations: int = 25
    spherical: bool = False


class Fit(Protocol):
    """Lloyd's algorithm over a float32 sample [n, d] from ``start`` [R, d], splitting empty clusters.

    Gives the centroids, float32 [R, d], and the last iteration's inertia (sum of squares).
    """

    def __call__(
        self, sample: NDArray[np.float32], start: NDArray[np.float32], options: FitOptions, device: str
    ) -> tuple[NDArray[np.float32], float]: ...
