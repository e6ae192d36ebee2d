"""What runs on a GPU, checked against float64 and timed against the machine's own floors. Builds nothing.

Needs Python 3.11 or 3.12 and torch 2.11 or newer, no FAISS:  python -m benchmarks.gpu_checks
Without a GPU everything runs small on the CPU and the rows say so; such times say nothing about a GPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.k_center import clustered_rows
from ecos_core.sampling.k_center_torch import Precision, greedy_k_center_groups

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
BYTES = {"float32": 4, "bfloat16": 2}
# A pick may be this much nearer than the farthest row: the last digits of a float32 sum.
TIE = 1e-3
K_CENTER_BAR = 3.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows: the result against float64, seconds, and how many times the floor they are."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    small = quick or device == "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU: small, on the CPU"
    bandwidth, flops = _bandwidth(device, small), _flops(device, small)
    kinds: tuple[Precision, ...] = ("float32", "bfloat16")
    rows = [_k_center_global(device, bandwidth, small, kind) for kind in kinds]
    rows += [_k_center_in_clusters(device, bandwidth, small, kind) for kind in kinds]
    rows.append(_kmeans(device, flops, small))
    return [{**row, "device": where} for row in rows]


def _seconds(call: Callable[[], Any], device: str, repeats: int = 3) -> float:
    import torch

    call()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _bandwidth(device: str, small: bool) -> float:
    """Bytes a second that a sum over a large tensor reads."""
    import torch

    data = torch.ones(2**24 if small else 2**29, device=device)
    return data.numel() * 4 / _seconds(data.sum, device)


def _flops(device: str, small: bool) -> float:
    """Operations a second of a square matrix product in the type that k-means uses."""
    import torch

    size = 1024 if small else 8192
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    data = torch.ones((size, size), device=device, dtype=kind)
    return 2.0 * size**3 / _seconds(lambda: data @ data, device)


def _k_center_global(device: str, bandwidth: float, small: bool, precision: Precision) -> Row:
    rows, dim, picks = (5_000, 64, 100) if small else (1_000_000, 512, 3_000)
    features = rounded(clustered_rows(rows, dim, 100)[0], precision)
    start = time.perf_counter()
    found = greedy_k_center_groups([features], [picks], [0], device=device, precision=precision)[0]
    seconds = time.perf_counter() - start
    return _row(
        f"k-center, {rows:,} x {dim} {precision}, {picks:,} picks (with the copy to the device)",
        _shortfall(features, found.indices[: min(picks, 200)].tolist()) <= TIE,
        seconds,
        picks * features.size * BYTES[precision] / bandwidth,
        None if small else K_CENTER_BAR,
    )


def _k_center_in_clusters(device: str, bandwidth: float, small: bool, precision: Precision) -> Row:
    rows, dim, picks, clusters = (5_000, 64, 100, 10) if small else (1_000_000, 512, 3_000, 100)
    features, assigned, means = clustered_rows(rows, dim, clusters)
    features = rounded(features, precision)
    groups = [features[assigned == r] for r in range(clusters)]
    firsts = [int(np.linalg.norm(g - m, axis=1).argmin()) for g, m in zip(groups, means, strict=True)]
    share = [picks // clusters] * clusters
    start = time.perf_counter()
    found = greedy_k_center_groups(groups, share, firsts, device=device, precision=precision)
    seconds = time.perf_counter() - start
    worst = max(_shortfall(g, f.indices.tolist()) for g, f in zip(groups, found, strict=True))
    floor = share[0] * features.size * BYTES[precision] / bandwidth
    name = f"k-center in {clusters} clusters, {rows:,} x {dim} {precision}, {picks:,} picks (with the copy)"
    return _row(name, worst <= TIE, seconds, floor, None)


def rounded(features: Array, precision: Precision) -> Array:
    """The numbers that the device holds, as float32."""
    import torch

    held = torch.from_numpy(features).to(getattr(torch, precision))
    return np.asarray(held.float().numpy())


def _shortfall(features: Array, chosen: list[int]) -> float:
    """The most by which a pick is nearer than the farthest row, as a share of that distance, in float64."""
    centres = features[chosen].astype(np.float64)
    farthest = np.zeros(len(chosen))
    own = np.zeros(len(chosen))
    for start in range(0, len(features), 2048):
        block = features[start : start + 2048].astype(np.float64)
        squared = (block**2).sum(1)[:, None] - 2.0 * (block @ centres.T) + (centres**2).sum(1)
        nearest = np.minimum.accumulate(np.maximum(squared, 0.0), axis=1)
        np.maximum(farthest, nearest.max(axis=0), out=farthest)
        for pick, row in enumerate(chosen):
            if pick and start <= row < start + len(block):
                own[pick] = nearest[row - start, pick - 1]
    reached, best = np.sqrt(own[1:]), np.sqrt(farthest[:-1])
    return float(np.max(1 - reached / best)) if len(chosen) > 1 else 0.0


def _kmeans(device: str, flops: float, small: bool) -> Row:
    from ecos_core.clustering.backends import FitOptions
    from ecos_core.clustering.torch_backend import fit

    rows, dim, clusters, iterations = (20_000, 64, 100, 5) if small else (10_000_000, 512, 1_000, 5)
    points = clustered_rows(rows, dim, clusters)[0]
    seeds = points[np.random.default_rng(1).choice(rows, clusters, replace=False)]
    start = time.perf_counter()
    vectors, inertia = fit(points, seeds, FitOptions(clusters, 1, iterations, False), device)
    seconds = (time.perf_counter() - start) / iterations
    sample = points[:: max(1, rows // 20_000)].astype(np.float64)
    squared = (sample**2).sum(1)[:, None] - 2.0 * sample @ vectors.T.astype(np.float64)
    nearest = (squared + (vectors.astype(np.float64) ** 2).sum(1)).min(1).mean()
    same = bool(nearest <= 1.02 * inertia / rows)
    name = f"k-means iteration, {rows:,} x {dim}, R = {clusters:,} (with the copy)"
    return _row(name, same, seconds, 2.0 * rows * dim * clusters / flops, None)


def _row(name: str, same: bool, seconds: float, floor: float, bar: float | None) -> dict[str, Any]:
    ratio = seconds / floor
    row = {"name": name, "same": same, "ours_s": seconds, "floor_s": floor, "times_floor": ratio, "bar": bar}
    return {**row, "ok": bool(same and (bar is None or ratio <= bar))}


if __name__ == "__main__":
    table = run(quick="--quick" in sys.argv)
    for line in table:
        print({key: round(value, 6) if isinstance(value, float) else value for key, value in line.items()})
    sys.exit(0 if all(line["ok"] for line in table) else 1)
