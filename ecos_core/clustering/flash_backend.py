"""k-means by flash-kmeans on a GPU: its fused assignment, the rest as in ``torch_backend``.

Its kernel keeps the running nearest centroid in registers, so that the scores never reach memory
(Yang et al. 2026, arXiv:2603.09229). Its own update of the centroids is not used: it adds to them
with atomics, in an order that differs from run to run, and rounds them to the points' type; our sums have a fixed
order and stay float32, so that a seed gives one result. Asked for only: which of the two is faster was not measured.
Every pair of a sample's and a centroids' number compiles the kernel anew (seconds), so above 10,000 clusters, which are
fitted in two levels of many sizes, ``torch`` is the better choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering import torch_backend
from ecos_core.clustering.backends import FitOptions

_ROWS = 1 << 19


def fit(
    sample: NDArray[np.float32], start: NDArray[np.float32], options: FitOptions, device: str
) -> tuple[NDArray[np.float32], float]:
    """``backends.Fit`` with the points assigned by flash-kmeans."""
    return torch_backend.fit(sample, start, options, device, by_flash)


def by_flash(points: Any) -> Callable[[Any], Any]:
    """An ``Assigner`` for points on CUDA."""
    import torch
    from flash_kmeans.assign_euclid_triton import euclid_assign_triton

    norms = torch.cat([part.float().square().sum(1) for part in points.split(_ROWS)])

    def assign(centroids: Any) -> Any:
        return euclid_assign_triton(points[None], centroids.to(points.dtype)[None], norms[None])[0]

    return assign
