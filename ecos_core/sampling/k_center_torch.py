"""Greedy k-center of many clusters at once with torch, on a GPU or the CPU.

On a GPU with Triton the kernels of ``k_center_triton`` do the work. Else clusters of similar size share a padded
batch, and a pick in all of them is one batched matrix-vector product. Nothing returns to the host before the
last pick in either. Every pick reads all features of the batch: about picks x bytes / memory bandwidth, so
``bfloat16`` features halve the time. Distances are float32 (of the numbers held), so that two rows nearly equally
far may swap against the float64 search in ``k_center``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.sampling.k_center import Picks

Precision = Literal["float32", "bfloat16"]
# A batch holds clusters whose sizes differ by at most this factor, so that padding wastes at most half.
_SIZE_FACTOR = 2.0
# Numbers in a block of squared distances to what is covered.
_BLOCK = 1 << 26


def greedy_k_center_groups(
    groups: Sequence[Any],
    picks: Sequence[int],
    firsts: Sequence[int | None],
    *,
    covered: Sequence[npt.NDArray[Any]] | None = None,
    stop_radius: float | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    kernels: bool | None = None,
) -> list[Picks]:
    """``picks[g]`` rows of each ``groups[g]`` [n_g, d], an array or tensor, starting at row ``firsts[g]``; see
    ``greedy_k_center`` for ``covered`` and ``stop_radius``.

    A first pick of None is the row farthest from ``covered[g]``. ``precision``: how the features are held on the
    device; distances are float32 in both. ``kernels``: Triton's or the padded form; by default Triton's on a GPU
    where it is installed. A single group that is a tensor of the device and precision is not copied.

    Raises InputError when a group has fewer free rows than picks, a first pick is not a free row of it or is
    left out with nothing covered, or features are not finite.
    """
    nothing = np.zeros(0, np.int64)
    done = [np.unique(rows).astype(np.int64) for rows in covered or [nothing] * len(groups)]
    for number, (rows, count, first) in enumerate(zip(groups, picks, firsts, strict=True)):
        _check(number, len(rows), count, first, done[number])
    if kernels is None:
        kernels = device.startswith("cuda") and importlib.util.find_spec("triton") is not None
    wanted = [g for g in range(len(groups)) if picks[g] > 0]
    found = [Picks(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(groups)
    for part in [wanted] if kernels and wanted else _batches(wanted, [len(rows) for rows in groups]):
        held = _hold(
            [groups[g] for g in part], [firsts[g] for g in part], [done[g] for g in part], device, precision
        )
        counts = [picks[g] for g in part]
        for g, (order, squared) in zip(part, _search(held, counts, kernels), strict=True):
            found[g] = _cut(order, squared, firsts[g] is not None, stop_radius)
    return found


def _check(number: int, rows: int, count: int, first: int | None, done: npt.NDArray[np.int64]) -> None:
    if not 0 <= count <= rows - len(done):
        free = f", {rows - len(done)} of them free" if len(done) else ""
        raise InputError(f"k-center: group {number} has {rows} rows{free} for {count} picks")
    if first is None and len(done) == 0 and count:
        raise InputError(f"k-center: group {number} needs a first pick or covered rows")
    if first is not None and (not 0 <= first < rows or first in done):
        raise InputError(f"k-center: group {number} has no free row {first} to start from")


def _batches(numbers: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Group numbers by rising size, cut where the size has doubled."""
    batches: list[list[int]] = []
    for group in sorted(numbers, key=lambda g: sizes[g]):
        if batches and sizes[group] <= _SIZE_FACTOR * sizes[batches[-1][0]]:
            batches[-1].append(group)
        else:
            batches.append([group])
    return batches


@dataclass(frozen=True)
class _Held:
    """Groups on the device: ``points`` [N, d], one group after the other; ``nearest`` float32 [N], squared
    distance to what is covered (infinite: nothing is; -1: the row itself is); ``firsts`` int64 [G], rows of
    their groups."""

    points: Any
    nearest: Any
    sizes: list[int]
    firsts: Any


def _hold(
    groups: Sequence[Any],
    firsts: Sequence[int | None],
    covered: Sequence[npt.NDArray[np.int64]],
    device: str,
    precision: Precision,
) -> _Held:
    import torch

    kind, sizes = getattr(torch, precision), [len(rows) for rows in groups]
    if len(groups) == 1:
        points = _tensor(torch, groups[0]).to(device=device, dtype=kind).contiguous()
    else:
        points = torch.empty((sum(sizes), groups[0].shape[1]), device=device, dtype=kind)
        for part, rows in zip(points.split(sizes), groups, strict=True):
            part.copy_(_tensor(torch, rows))
    if not bool(points.sum(1, dtype=torch.float32).isfinite().all()):
        raise InputError("k-center: features must be finite; re-extract the samples whose features are not")
    nearest = torch.full((len(points),), torch.inf, device=device)
    starts = [0 if first is None else first for first in firsts]
    parts = zip(points.split(sizes), nearest.split(sizes), strict=True)
    for g, (rows, near) in enumerate(parts):
        if len(covered[g]):
            near.copy_(_to_the_covered(torch, rows, covered[g]))
            if firsts[g] is None:
                starts[g] = int(near.argmax())
    return _Held(points, nearest, sizes, torch.as_tensor(starts, device=device))


def _tensor(torch: Any, rows: Any) -> Any:
    return (
        rows
        if isinstance(rows, torch.Tensor)
        else torch.from_numpy(np.require(rows, requirements=("C", "W")))
    )


def _to_the_covered(torch: Any, rows: Any, covered: npt.NDArray[np.int64]) -> Any:
    """Squared distance [n] of each row to the nearest covered one, float32; -1 at those."""
    where = torch.as_tensor(covered, device=rows.device)
    norms = _norms(rows)
    nearest = torch.full_like(norms, torch.inf)
    for part in where.split(max(1, _BLOCK // len(rows))):
        squared = norms[:, None] - 2.0 * _products(torch, rows[None], rows[part].T[None])[0] + norms[part]
        nearest = torch.minimum(nearest, squared.amin(1).clamp_min_(0.0))
    nearest[where] = -1.0
    return nearest


def _search(held: _Held, picks: list[int], kernels: bool) -> list[tuple[Any, Any]]:
    """Rows and squared distances of every group's picks."""
    if kernels:
        from ecos_core.sampling.k_center_triton import search

        return search(held.points, held.nearest, held.sizes, held.firsts, picks)
    return _padded(held, picks)


def _padded(held: _Held, picks: list[int]) -> list[tuple[Any, Any]]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    points = pad_sequence(held.points.split(held.sizes), batch_first=True)
    nearest = pad_sequence(held.nearest.split(held.sizes), batch_first=True, padding_value=-1.0)
    norms = torch.stack([_norms(rows) for rows in points])
    every = torch.arange(len(points), device=points.device)
    best = held.firsts
    order = torch.empty((max(picks), len(points)), dtype=torch.int64, device=points.device)
    squares = torch.empty(order.shape, device=points.device)
    for step in range(max(picks)):
        order[step], squares[step] = best, nearest[every, best]
        products = _products(torch, points, points[every, best].unsqueeze(2)).squeeze(2)
        squared = norms - 2.0 * products + norms[every, best, None]
        nearest = torch.minimum(nearest, squared.clamp_min_(0.0))
        nearest[every, best] = -1.0
        best = nearest.argmax(1)
    rows, found = order.cpu().numpy(), squares.cpu().numpy()
    return [(rows[:count, g], found[:count, g]) for g, count in enumerate(picks)]


def _norms(rows: Any) -> Any:
    """Squared, float32 [n], of the numbers held."""
    return rows.float().square().sum(1)


def _products(torch: Any, points: Any, centres: Any) -> Any:
    """[g, n, d] times [g, d, m]: float32 [g, n, m], accumulated in float32."""
    if points.dtype == torch.float32:
        return torch.bmm(points, centres)
    if points.device.type == "cuda":
        return torch.bmm(points, centres, out_dtype=torch.float32)
    return torch.bmm(points.float(), centres.float())


def _cut(order: Any, squared: Any, first_given: bool, stop_radius: float | None) -> Picks:
    """Picks with their radii, up to the first one within ``stop_radius`` that was not asked for."""
    radii = np.sqrt(np.where(np.isinf(squared), np.nan, np.maximum(squared, 0.0))).astype(np.float32)
    count = len(order)
    if stop_radius is not None:
        near = np.flatnonzero(radii[int(first_given) :] <= stop_radius)
        count = int(first_given) + int(near[0]) if len(near) else count
    return Picks(order[:count].copy(), radii[:count])
