"""Where greedy k-center runs: exact on the CPU, or many searches in one batch on a GPU, where that is asked for.

Never chosen by itself: the GPU's float32 distances may swap two samples nearly equally far, so that the same
configuration would give other picks on another machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.features.devices import sees_gpu
from ecos_core.sampling.k_center import Picks, greedy_k_center

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Search:
    """``k`` of the rows ``features`` [n, d]; the rest as in ``greedy_k_center``, but ``first`` must be given
    where nothing is covered."""

    features: npt.NDArray[Any]
    k: int
    first: int | None
    covered: npt.NDArray[np.int64]
    centroid_distances: npt.NDArray[Any] | None = None


def k_center_on(device: Device, searches: Sequence[Search], stop_radius: float | None = None) -> list[Picks]:
    """The picks of each search.

    Raises InputError as ``greedy_k_center`` does, and for ``gpu`` where torch sees none or its memory is too
    small for the features of all searches (4 bytes a number).
    """
    if device == "cpu":
        return [
            greedy_k_center(
                search.features,
                search.k,
                first=search.first,
                covered=search.covered,
                centroid_distances=search.centroid_distances,
                stop_radius=stop_radius,
            )
            for search in searches
        ]
    check_device(device)
    return _on_gpu(searches, stop_radius)


def check_device(device: Device) -> None:
    """Raises InputError for a GPU that torch does not see here."""
    if device == "gpu" and not sees_gpu():
        raise InputError(
            "k-center was asked to run on a GPU (k_center_on: gpu) and torch sees none here; "
            "set k_center_on to cpu, or see 'ecos doctor'"
        )


def _on_gpu(searches: Sequence[Search], stop_radius: float | None) -> list[Picks]:
    import torch

    from ecos_core.sampling.k_center_torch import greedy_k_center_groups

    try:
        return greedy_k_center_groups(
            [search.features for search in searches],
            [search.k for search in searches],
            [search.first for search in searches],
            covered=[search.covered for search in searches],
            stop_radius=stop_radius,
            device="cuda",
        )
    except torch.OutOfMemoryError as error:
        numbers = sum(search.features.size for search in searches)
        raise InputError(
            f"k-center: {numbers * 4 / 2**30:.1f} GiB of features do not fit the GPU's free memory; "
            "set k_center_on to cpu"
        ) from error
