"""flash-kmeans assigns, the rest stays ours: with an assignment of our own in its place, and with its kernel in
Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecos_core.clustering import backends, flash_backend, torch_backend
from ecos_core.clustering.backends import FitOptions, choose_backend
from ecos_core.errors import InputError, MissingDependencyError

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[3]
_KERNEL = """
import numpy as np, torch
torch.Tensor.is_cuda = property(lambda tensor: True)
from flash_kmeans import assign_euclid_triton as flash
from ecos_core.clustering import flash_backend, torch_backend
flash._need_split_d = lambda *_: False
blocks = {"BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 4, "num_stages": 1}
flash._heuristic_euclid_config = lambda *_, **__: blocks
rng = np.random.default_rng(0)
for kind in (torch.float32, torch.float16):  # the interpreter has no dot product of bfloat16
    points = torch.from_numpy(rng.normal(size=(300, 20)).astype(np.float32)).to(kind)
    centroids = torch.from_numpy(rng.normal(size=(21, 20)).astype(np.float32))
    found = flash_backend.by_flash(points)(centroids)
    distances = torch.cdist(points.double(), centroids.to(kind).double())
    assert (found.long() == distances.argmin(1)).all(), kind
"""


def start_and_sample() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(2000, 12)).astype(np.float32)
    return sample[rng.choice(2000, 30, replace=False)].copy(), sample


def test_another_assignment_gives_the_same_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def assigned(x: Any, centroids: Any, x_sq: Any) -> Any:
        asked.append(tuple(x.shape))
        squared = x_sq[:, :, None] + centroids.square().sum(2)[:, None] - 2 * x @ centroids.mT
        return squared.argmin(2).int()

    module = types.ModuleType("flash_kmeans.assign_euclid_triton")
    module.euclid_assign_triton = assigned  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_kmeans", types.ModuleType("flash_kmeans"))
    monkeypatch.setitem(sys.modules, "flash_kmeans.assign_euclid_triton", module)
    start, sample = start_and_sample()
    options = FitOptions(30, seed=1, iterations=10)
    ours, inertia = torch_backend.fit(sample, start, options, "cpu")
    flash, flash_inertia = flash_backend.fit(sample, start, options, "cpu")
    np.testing.assert_array_equal(flash, ours)
    assert flash_inertia == inertia
    assert asked == [(1, 2000, 12)] * 10


def test_its_kernel_finds_the_nearest_centroid() -> None:
    pytest.importorskip("flash_kmeans")
    place = {**os.environ, "PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _KERNEL], env=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_is_used_only_where_asked_for_and_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="'flash' needs a GPU"):
        choose_backend("flash")
    monkeypatch.setattr(backends, "sees_gpu", lambda: True)
    monkeypatch.setattr(backends, "_installed", lambda package: None)
    with pytest.raises(MissingDependencyError, match=r"ecos-sampling\[gpu\]"):
        choose_backend("flash")
    monkeypatch.setattr(backends, "_installed", lambda package: object())
    assert choose_backend("flash").name == "flash"
