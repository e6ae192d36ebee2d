"""k-means by torch, for GPUs that FAISS has no build for; it runs on a CPU too.

Every iteration walks the sample in chunks: one matrix product decides the centroids, a sort by cluster and a
segmented sum add up the members. No n x R matrix is ever held, and sums have a fixed order, so the same seed
gives the same centroids (atomics would not).

On CUDA the sample is held once, in bfloat16, as differences from a point in its middle: what is rounded is then of
the size of the spread, not of the distance from 0. Products of bfloat16 numbers are accumulated in and returned as
float32, sums and centroids are float32. The inertia is of the numbers held, from their differences to the float32
centroids, and only the last iteration's is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.fitting import FitOptions

# Numbers in the matrix of scores of one chunk.
CHUNK_SCORES = {"cpu": 1 << 22, "cuda": 1 << 28}
SPLIT_STEP = 1 / 1024

# Points held [n, d] -> a function of centroids float32 [R, d] that gives the nearest one's number, int [n].
Assigner = Callable[[Any], Callable[[Any], Any]]


def by_products(points: Any) -> Callable[[Any], Any]:
    """An ``Assigner``: the largest of ``x.c - |c|^2 / 2``, chunk by chunk."""
    import torch

    def assign(centroids: Any) -> Any:
        held = centroids.to(points.dtype)
        half_norms = 0.5 * held.float().square().sum(1)
        parts = points.split(_rows_a_chunk(points, len(centroids)))
        return torch.cat([products(part, held.T).sub_(half_norms).argmax(1) for part in parts])

    return assign


def products(left: Any, right: Any) -> Any:
    """[n, d] times [d, m], both float32 or both bfloat16: float32 [n, m], accumulated in float32."""
    import torch

    if left.dtype == torch.float32:
        return left @ right
    if left.device.type == "cuda":
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def fit(
    sample: NDArray[np.float32],
    start: NDArray[np.float32],
    options: FitOptions,
    device: str,
    assigner: Assigner = by_products,
) -> tuple[NDArray[np.float32], float]:
    """``backends.Fit`` by torch."""
    import torch

    origin = np.zeros_like(start[0]) if device == "cpu" else start.mean(axis=0)
    with torch.inference_mode():
        points = hold(torch.from_numpy(sample), torch.from_numpy(origin), device)
        centroids, inertia = lloyd(
            points, torch.from_numpy(start), torch.from_numpy(origin), options, assigner
        )
    return np.ascontiguousarray(centroids.cpu().numpy()), inertia


def hold(sample: Any, origin: Any, device: str) -> Any:
    """The points as ``lloyd`` works on them: on the CPU as they are, on CUDA less ``origin`` and in bfloat16."""
    import torch

    if device == "cpu":
        return sample
    held = torch.empty(sample.shape, dtype=torch.bfloat16, device=device)
    step = CHUNK_SCORES["cuda"] // sample.shape[1]
    for part, rows in zip(held.split(step), sample.split(step), strict=True):
        part.copy_(rows.to(device) - origin.to(device))
    return held


def lloyd(points: Any, start: Any, origin: Any, options: FitOptions, assigner: Assigner) -> tuple[Any, float]:
    """Lloyd's algorithm on ``points`` of ``hold`` from ``start`` [R, d]: the centroids, float32 [R, d] on the
    points' device, and the last iteration's inertia."""
    import torch

    generator = np.random.default_rng(options.seed)
    origin = origin.to(points.device)
    centroids, assign = start.to(points.device) - origin, assigner(points)
    inertia = 0.0
    for turn in range(options.iterations):
        ids = assign(centroids)
        sums, counts = _sums(points, ids, len(centroids))
        if turn == options.iterations - 1:
            inertia = _inertia(points, centroids, ids)
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centroids)
        centroids = _split_empty(torch, centroids, counts, generator)
        if options.spherical:
            centroids = torch.nn.functional.normalize(centroids + origin, dim=1) - origin
    return centroids + origin, inertia


def _rows_a_chunk(points: Any, clusters: int) -> int:
    return max(256, CHUNK_SCORES[points.device.type] // max(clusters, points.shape[1]))


def _sums(points: Any, ids: Any, clusters: int) -> tuple[Any, Any]:
    """Float32 sums [R, d] and counts [R] of the members of every centroid; nothing returns to the host."""
    import torch

    sums = torch.zeros((clusters, points.shape[1]), device=points.device)
    counts = torch.zeros(clusters, device=points.device)
    every = torch.arange(clusters + 1, device=points.device, dtype=ids.dtype)
    step = _rows_a_chunk(points, clusters)
    for part, chosen in zip(points.split(step), ids.split(step), strict=True):
        ordered, order = torch.sort(chosen, stable=True)
        lengths = torch.searchsorted(ordered, every).diff()
        rows = part[order].float()
        sums += torch.segment_reduce(rows, "sum", lengths=lengths, axis=0, initial=0, unsafe=True)
        counts += lengths
    return sums, counts


def _inertia(points: Any, centroids: Any, ids: Any) -> float:
    import torch

    total = torch.zeros((), dtype=torch.float64, device=points.device)
    step = _rows_a_chunk(points, len(centroids))
    for part, chosen in zip(points.split(step), ids.split(step), strict=True):
        total += (part.float() - centroids[chosen]).square_().sum(1).sum(dtype=torch.float64)
    return float(total)


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
