"""k-means by torch, for GPUs that FAISS has no build for; it runs on a CPU too.

Every iteration walks the sample in chunks: one matrix product decides the centroids, a sort by cluster and a
segmented sum add up the members. No n x R matrix is ever held, and sums have a fixed order, so the same seed
gives the same centroids (atomics would not). On CUDA the products take bfloat16 and accumulate in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.backends import FitOptions

# Numbers in the matrix of scores of one chunk.
CHUNK_SCORES = {"cpu": 1 << 22, "cuda": 1 << 28}
SPLIT_STEP = 1 / 1024


def fit(
    sample: NDArray[np.float32], start: NDArray[np.float32], options: FitOptions, device: str
) -> tuple[NDArray[np.float32], float]:
    """``backends.Fit`` by matrix products of torch."""
    import torch

    generator = np.random.default_rng(options.seed)
    points = torch.from_numpy(sample).to(device)
    centroids = torch.from_numpy(start).to(device)
    inertia = 0.0
    with torch.inference_mode():
        for _ in range(options.iterations):
            sums, counts, inertia = _one_pass(torch, points, centroids)
            centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
            centroids = _split_empty(torch, centroids, counts, generator)
            if options.spherical:
                centroids = torch.nn.functional.normalize(centroids, dim=1)
    return np.ascontiguousarray(centroids.cpu().numpy()), inertia


def _one_pass(torch: Any, points: Any, centroids: Any) -> tuple[Any, Any, float]:
    """Sums [R, d] and counts [R] of the members of every centroid, and the inertia."""
    half_norms = 0.5 * (centroids * centroids).sum(1)
    step = max(256, CHUNK_SCORES[points.device.type] // len(centroids))
    sums = torch.zeros_like(centroids)
    counts = torch.zeros(len(centroids), device=points.device)
    inertia = torch.zeros((), dtype=torch.float64, device=points.device)
    for part in points.split(step):
        best, ids = (_products(torch, part, centroids) - half_norms).max(1)
        order = torch.argsort(ids, stable=True)
        lengths = torch.bincount(ids, minlength=len(centroids))
        sums += torch.segment_reduce(part[order], "sum", lengths=lengths, axis=0, initial=0)
        counts += lengths
        inertia += ((part * part).sum(1) - 2 * best).clamp(min=0).sum(dtype=torch.float64)
    return sums, counts, float(inertia)


def _products(torch: Any, part: Any, centroids: Any) -> Any:
    if part.device.type != "cuda":
        return part @ centroids.T
    return (part.bfloat16() @ centroids.T.bfloat16()).float()


def _split_empty(torch: Any, centroids: Any, counts: Any, generator: np.random.Generator) -> Any:
    """Give an empty cluster half of a large one: a copy, the two moved apart by a 1024th of their
    coordinates."""
    sizes = counts.cpu().numpy().astype(np.float64)
    empty = np.flatnonzero(sizes == 0)
    if len(empty) == 0:
        return centroids
    moved = centroids.clone()
    signs = torch.ones(centroids.shape[1], device=centroids.device)
    signs[1::2] = -1
    for cluster in empty:
        weight = np.maximum(sizes - 1, 0)
        donor = int(generator.choice(len(sizes), p=weight / weight.sum()))
        moved[cluster] = moved[donor] * (1 + SPLIT_STEP * signs)
        moved[donor] = moved[donor] * (1 - SPLIT_STEP * signs)
        sizes[cluster], sizes[donor] = sizes[donor] / 2, sizes[donor] / 2
    return moved


def nearest_on_gpu(
    centroids: NDArray[np.float32],
) -> Callable[[NDArray[Any]], tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """``assignment.nearest`` with the centroids kept on the GPU.

    Products in float32 (TF32 off), so that ids agree with the CPU's but for ties in the last digit; distances
    are computed from the difference.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    kept = torch.from_numpy(centroids).cuda()
    half_norms = 0.5 * (kept * kept).sum(1)
    step = max(256, CHUNK_SCORES["cuda"] // len(kept))

    def nearest(features: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        ids, distances = [], []
        with torch.inference_mode():
            for part in torch.from_numpy(np.ascontiguousarray(features)).split(step):
                points = part.cuda().float()
                found = (points @ kept.T - half_norms).argmax(1)
                distances.append((points - kept[found]).norm(dim=1).cpu())
                ids.append(found.int().cpu())
        return torch.cat(ids).numpy(), torch.cat(distances).numpy()

    return nearest
