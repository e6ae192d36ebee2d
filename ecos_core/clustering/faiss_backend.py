"""k-means by FAISS, on a CPU or on all GPUs that it sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.fitting import FitOptions
from ecos_core.errors import InputError


def fit(
    sample: NDArray[np.float32], start: NDArray[np.float32], options: FitOptions, device: str
) -> tuple[NDArray[np.float32], float]:
    """``backends.Fit`` by ``faiss.Kmeans``.

    The sample is used whole: drawing it is the caller's. Raises InputError when a GPU was decided on and is
    not seen.
    """
    import faiss

    gpus = faiss.get_num_gpus()
    if device == "cuda" and gpus == 0:
        raise InputError(
            "FAISS sees no GPU any more: use  --backend torch, or  --backend faiss  for its CPU path"
        )
    kmeans = faiss.Kmeans(
        sample.shape[1],
        options.clusters,
        niter=options.iterations,
        seed=options.seed % (1 << 31),
        spherical=options.spherical,
        gpu=gpus if device == "cuda" else False,
        min_points_per_centroid=1,
        max_points_per_centroid=-(-len(sample) // options.clusters),
    )
    kmeans.train(sample, init_centroids=start)
    centroids, objective = np.asarray(kmeans.centroids, np.float32), np.asarray(kmeans.obj)
    return np.ascontiguousarray(centroids), float(objective[-1])
