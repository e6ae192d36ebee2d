"""What runs on a GPU, checked in float64 and timed against the machine's own floors. Builds nothing.

Needs Python 3.11 or 3.12, numpy and torch 2.11 or newer, neither FAISS nor pydantic:

    python -m benchmarks.gpu_checks [--quick] > rows.jsonl

prints a row a line as it is found and ends with 1 when one is wrong or below its bar. On a GPU it takes minutes and
up to 60 GB of its memory. Without one everything runs small on the CPU and the rows say so: such times say nothing
about a GPU. Triton's kernels then run only with TRITON_INTERPRET=1 in the environment, by Triton's interpreter; else
the padded torch form stands in.

Floors: k-center reads all features of the clusters that still pick once a pick, at the bandwidth that a sum
reaches here; an iteration of k-means is 2 n d R operations at the rate that a square bfloat16 product reaches here.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ecos_core.clustering.fitting import FitOptions
from ecos_core.clustering.torch_backend import Assigner, by_products, hold, lloyd
from ecos_core.sampling.k_center_torch import Precision, greedy_k_center_groups

Row = dict[str, Any]
BYTES = {"float32": 4, "bfloat16": 2}
KINDS: tuple[Precision, ...] = ("float32", "bfloat16")
# A pick may be this much nearer than the farthest row, an assigned centroid this much farther than the nearest, as
# a share of the distance: the last digits of float32 sums.
TIE = 1e-3
K_CENTER_BAR = 3.0
CHECKED_PICKS = 200
ITERATIONS = 5
BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Sizes:
    """``one``: (rows, columns, picks) of the global search; ``many``: (clusters, picks in each); ``kmeans``:
    (rows, columns, R, published seconds of flash-kmeans on an H200)."""

    one: tuple[int, int, int]
    many: tuple[tuple[int, int], ...]
    kmeans: tuple[tuple[int, int, int, float | None], ...]
    bandwidth_numbers: int
    product_size: int


ON_A_GPU = Sizes(
    (1_000_000, 512, 3_000),
    ((100, 30), (1_000, 30)),
    ((10_000_000, 512, 1_000, None), (4_200_000, 128, 1_024, 5.7e-3)),
    2**29,
    8192,
)
SMALL = Sizes(
    (5_000, 64, 100), ((10, 10), (50, 5)), ((20_000, 64, 100, None), (8_000, 32, 128, None)), 2**24, 1024
)
INTERPRETED = Sizes((1_000, 64, 30), ((10, 5),), SMALL.kmeans, 2**24, 1024)
QUICK = Sizes((500, 24, 10), ((4, 3),), ((2_000, 16, 20, None),), 2**20, 256)


@dataclass(frozen=True)
class Machine:
    device: str
    kernels: bool
    note: str
    bandwidth: float
    flops: float


def run(quick: bool = False) -> list[Row]:
    """Rows: right in float64 or not, seconds on the device, with the copy to it, of the peer, and the floor."""
    return list(rows(quick))


def rows(quick: bool = False) -> Iterator[Row]:
    """``run``, each row as it is found; the device's memory is given back between them."""
    on_gpu = torch.cuda.is_available()
    interpreted = not on_gpu and os.environ.get("TRITON_INTERPRET") == "1"
    full = ON_A_GPU if on_gpu else INTERPRETED if interpreted else SMALL
    sizes = QUICK if quick else full
    machine = _machine(sizes, on_gpu, interpreted)
    checks: list[Callable[[], Row]] = [partial(_one, machine, sizes.one, kind) for kind in KINDS]
    for clusters, picks in sizes.many:
        checks += [partial(_many, machine, sizes.one[:2], clusters, picks, kind) for kind in KINDS]
    checks += [partial(_kmeans, machine, size, "torch", by_products) for size in sizes.kmeans]
    for check in checks:
        yield {**check(), "device": machine.note}
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()


def _machine(sizes: Sizes, on_gpu: bool, interpreted: bool) -> Machine:
    device = "cuda" if on_gpu else "cpu"
    installed = importlib.util.find_spec("triton") is not None
    form = "Triton's interpreter" if interpreted else "torch form"
    note = torch.cuda.get_device_name() if on_gpu else f"no GPU: small, on the CPU, {form}"
    data = torch.ones(sizes.bandwidth_numbers, device=device)
    bandwidth = data.numel() * 4 / _seconds(data.sum)
    kind = torch.bfloat16 if on_gpu else torch.float32
    square = torch.ones((sizes.product_size, sizes.product_size), device=device, dtype=kind)
    flops = 2.0 * sizes.product_size**3 / _seconds(lambda: square @ square)
    return Machine(device, installed and (on_gpu or interpreted), note, bandwidth, flops)


def _once(call: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds), all work on the device done."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    result = call()
    wait()
    return result, time.perf_counter() - start


def _seconds(call: Callable[[], Any]) -> float:
    call()
    return float(np.median([_once(call)[1] for _ in range(3)]))


def _repeated(call: Callable[[], Any]) -> tuple[Any, float]:
    """(result, seconds): the median of three where one is short."""
    result, seconds = _once(call)
    return result, seconds if seconds > 1 else float(np.median([seconds, _once(call)[1], _once(call)[1]]))


def features_like_images(rows: int, dim: int, clusters: int, device: str) -> tuple[Any, Any]:
    """(float32 [rows, dim] of norm 1 with the spectrum and spread of image features, cluster of each), made on
    the device."""
    generator = torch.Generator(device).manual_seed(0)
    scales = (1.0 + torch.arange(dim, device=device)) ** -0.5
    centres = torch.randn((clusters, dim), generator=generator, device=device) * scales
    assigned = torch.randint(clusters, (rows,), generator=generator, device=device)
    features = torch.empty((rows, dim), device=device)
    for part, chosen in zip(features.split(BLOCK_ROWS), assigned.split(BLOCK_ROWS), strict=True):
        part.normal_(generator=generator).mul_(0.7 * scales).add_(centres[chosen])
        part.div_(part.norm(dim=1, keepdim=True))
    return features, assigned


def _one(machine: Machine, size: tuple[int, int, int], kind: Precision) -> Row:
    count, dim, picks = size
    features = features_like_images(count, dim, 100, machine.device)[0].to(getattr(torch, kind))
    name = f"k-center, {count:,} x {dim} {kind}, {picks:,} picks"
    bar = K_CENTER_BAR if machine.device == "cuda" else None
    return _k_center(machine, name, [features], picks, kind, bar)


def _many(machine: Machine, size: tuple[int, int], clusters: int, picks: int, kind: Precision) -> Row:
    features, assigned = features_like_images(*size, clusters, machine.device)
    order = torch.argsort(assigned, stable=True)
    ends = torch.bincount(assigned, minlength=clusters).tolist()
    groups = list(features[order].to(getattr(torch, kind)).split(ends))
    name = f"k-center in {clusters:,} clusters, {size[0]:,} x {size[1]} {kind}, {picks} picks in each"
    return _k_center(machine, name, groups, picks, kind, None)


def _k_center(
    machine: Machine, name: str, groups: list[Any], picks: int, kind: Precision, bar: float | None
) -> Row:
    def search(data: list[Any], count: int, kernels: bool) -> Any:
        return greedy_k_center_groups(
            data,
            [min(count, len(rows)) for rows in data],
            [0] * len(data),
            device=machine.device,
            precision=kind,
            kernels=kernels,
        )

    search([rows[:256] for rows in groups[:1]], 2, machine.kernels)  # compiles
    found, seconds = _repeated(lambda: search(groups, picks, machine.kernels))
    on_the_host = [rows.cpu() for rows in groups]
    with_copy = _repeated(lambda: search(on_the_host, picks, machine.kernels))[1]
    shortfall = max(
        _shortfall(rows, chosen.indices[:CHECKED_PICKS].tolist())
        for rows, chosen in zip(groups, found, strict=True)
    )
    numbers = sum(rows.numel() for rows in groups)
    row = _row(name, shortfall <= TIE, seconds, picks * numbers * BYTES[kind] / machine.bandwidth, bar)
    row |= {"with_copy_s": with_copy, "shortfall": shortfall}
    if machine.kernels:
        peer_s = _repeated(lambda: search(groups, picks, False))[1]
        row |= {"peer": "padded torch form", "peer_s": peer_s, "ratio": peer_s / seconds}
    return row


def _shortfall(features: Any, chosen: list[int]) -> float:
    """The most by which a pick is nearer than the farthest row, as a share of that distance, in float64."""
    if len(chosen) < 2:
        return 0.0
    centres = features[chosen].double()
    farthest = torch.zeros(len(chosen), dtype=torch.float64, device=features.device)
    own = _nearest_so_far(centres, centres).diagonal(-1)
    for part in features.split(BLOCK_ROWS):
        farthest = torch.maximum(farthest, _nearest_so_far(part.double(), centres).amax(0))
    best = farthest[:-1].sqrt()
    return float((1 - own.sqrt() / best.clamp_min(1e-300)).where(best > 0, 0.0).max())


def _nearest_so_far(points: Any, centres: Any) -> Any:
    """Squared distance [n, k] of each row to the nearest of the first centres, one more a column. Of the
    centres themselves, the one below the diagonal is a pick's distance when it was picked."""
    squared = (points**2).sum(1)[:, None] - 2.0 * (points @ centres.T) + (centres**2).sum(1)
    return squared.clamp_min_(0.0).cummin(1).values


def _kmeans(machine: Machine, size: tuple[int, int, int, float | None], name: str, assigner: Assigner) -> Row:
    count, dim, clusters, published = size
    features = features_like_images(count, dim, clusters, machine.device)[0]
    chosen = np.random.default_rng(1).choice(count, clusters, replace=False)
    start = features[torch.as_tensor(chosen, device=machine.device)].clone()
    origin = start.mean(0) if machine.device == "cuda" else torch.zeros(dim)
    points = hold(features, origin, machine.device)
    del features

    def iterate(times: int) -> Any:
        return lloyd(points, start, origin, FitOptions(clusters, 1, times), assigner)

    iterate(1)  # compiles
    once = min(_once(lambda: iterate(1))[1] for _ in range(2))
    (centroids, inertia), several = _once(lambda: iterate(1 + ITERATIONS))
    seconds = (several - once) / ITERATIONS
    same = _fits(points, centroids - origin, inertia, assigner)
    kind = str(points.dtype).removeprefix("torch.")
    row = _row(
        f"k-means iteration by {name}, {count:,} x {dim} {kind}, R = {clusters:,}",
        same,
        seconds,
        2.0 * count * dim * clusters / machine.flops,
        None,
    )
    row["share_of_ceiling"] = row["floor_s"] / seconds
    if published is not None:
        row |= {"peer": "flash-kmeans as published (H200)", "peer_s": published, "ratio": published / seconds}
    return row


def _fits(points: Any, centroids: Any, inertia: float, assigner: Assigner) -> bool:
    """In float64 on some points: each is assigned to the nearest of the centroids as the points' type holds
    them, and the centroids are no worse than the inertia that was reported for those before."""
    some = points[:: max(1, len(points) // 20_000)].contiguous()
    held = centroids.to(points.dtype).double()
    distances = torch.cdist(some.double(), held, compute_mode="donot_use_mm_for_euclid_dist")
    assigned = assigner(some)(centroids).long()
    nearest = distances.amin(1)
    right = distances.gather(1, assigned[:, None])[:, 0] <= (1 + TIE) * nearest + 1e-6
    return bool(right.all()) and float(nearest.square().mean()) <= 1.02 * inertia / len(points)


def _row(name: str, same: bool, seconds: float, floor: float, bar: float | None) -> Row:
    ratio = seconds / floor
    row = {"name": name, "same": same, "ours_s": seconds, "floor_s": floor, "times_floor": ratio, "bar": bar}
    return {**row, "ok": bool(same and (bar is None or ratio <= bar))}


if __name__ == "__main__":
    good = True
    for line in rows(quick="--quick" in sys.argv):
        print(json.dumps(line), flush=True)
        good &= line["ok"]
    sys.exit(0 if good else 1)
