"""Greedy k-center of many clusters at once with torch, on a GPU or the CPU.

Clusters of similar size share a padded batch; a pick in all of them is one batched matrix-vector product, and
nothing returns to the host before the last pick. On a GPU every pick reads all features of the batch: about
picks x bytes / memory bandwidth, so ``bfloat16`` features halve the time. Distances are float32 (of the rounded
features), so that two rows nearly equally far may swap against the float64 search in ``k_center``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.sampling.k_center import Picks

Precision = Literal["float32", "bfloat16"]
# A batch holds clusters whose sizes differ by at most this factor, so that padding wastes at most half.
_SIZE_FACTOR = 2.0


def greedy_k_center_groups(
    groups: Sequence[npt.NDArray[Any]],
    picks: Sequence[int],
    firsts: Sequence[int],
    *,
    device: str = "cpu",
    precision: Precision = "float32",
) -> list[Picks]:
    """``picks[g]`` rows of each ``groups[g]`` [n_g, d], starting at row ``firsts[g]``; see
    ``greedy_k_center``.

    ``precision``: how the features are held on the device; norms and distances are float32 in both. Raises
    InputError when a group has fewer rows than picks, or a first pick is not one of its rows.
    """
    for number, (rows, count, first) in enumerate(zip(groups, picks, firsts, strict=True)):
        if not (0 < count <= len(rows) and 0 <= first < len(rows)):
            raise InputError(
                f"k-center: group {number} has {len(rows)} rows for {count} picks from row {first}"
            )
    found: dict[int, Picks] = {}
    for batch in _batches([len(rows) for rows in groups]):
        chosen = _pick(
            [groups[g] for g in batch],
            [picks[g] for g in batch],
            [firsts[g] for g in batch],
            device,
            precision,
        )
        found.update(zip(batch, chosen, strict=True))
    return [found[g] for g in range(len(groups))]


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Group numbers by rising size, cut where the size has doubled."""
    batches: list[list[int]] = []
    for group in sorted(range(len(sizes)), key=lambda g: sizes[g]):
        if batches and sizes[group] <= _SIZE_FACTOR * sizes[batches[-1][0]]:
            batches[-1].append(group)
        else:
            batches.append([group])
    return batches


def _pick(
    groups: Sequence[npt.NDArray[Any]],
    picks: Sequence[int],
    firsts: Sequence[int],
    device: str,
    precision: Precision,
) -> list[Picks]:
    import torch

    longest, rounds = max(len(rows) for rows in groups), max(picks)
    held = getattr(torch, precision)
    points = torch.zeros((len(groups), longest, groups[0].shape[1]), device=device, dtype=held)
    norms = torch.zeros((len(groups), longest), device=device)
    nearest = torch.full((len(groups), longest), -1.0, device=device)
    for g, rows in enumerate(groups):
        points[g, : len(rows)] = torch.as_tensor(np.asarray(rows, dtype=np.float32), device=device)
        norms[g] = points[g].float().square().sum(1)
        nearest[g, : len(rows)] = torch.inf
    every = torch.arange(len(groups), device=device)
    best = torch.as_tensor(list(firsts), device=device)
    order = torch.empty((rounds, len(groups)), dtype=torch.int64, device=device)
    radii = torch.empty((rounds, len(groups)), device=device)
    for step in range(rounds):
        order[step], radii[step] = best, nearest[every, best]
        products = _products(torch, points, points[every, best])
        squared = norms - 2.0 * products + norms[every, best, None]
        nearest = torch.minimum(nearest, squared.clamp_min_(0.0))
        nearest[every, best] = -1.0
        best = nearest.argmax(1)
    rows_found, far = order.cpu().numpy(), radii.clamp_min(0.0).sqrt().cpu().numpy()
    far[0] = np.nan
    return [
        Picks(rows_found[:count, g].copy(), far[:count, g].astype(np.float32))
        for g, count in enumerate(picks)
    ]


def _products(torch: Any, points: Any, centres: Any) -> Any:
    """[g, n, d] times [g, d]: float32 [g, n], accumulated in float32."""
    centres = centres.unsqueeze(2)
    if points.dtype == torch.float32:
        return torch.bmm(points, centres).squeeze(2)
    if points.device.type == "cuda":
        return torch.bmm(points, centres, out_dtype=torch.float32).squeeze(2)
    return torch.bmm(points.float(), centres.float()).squeeze(2)
