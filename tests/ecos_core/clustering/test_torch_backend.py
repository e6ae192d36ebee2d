"""What the torch backend does on CUDA only, as far as a machine without a GPU can tell."""

from __future__ import annotations

import numpy as np
import pytest

from ecos_core.clustering import torch_backend
from ecos_core.clustering.fitting import FitOptions

torch = pytest.importorskip("torch")


def test_on_cuda_products_are_float32_and_a_pass_never_waits_for_the_device() -> None:
    """By tensors without data: reading one of their values on the host would raise."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        points = torch.empty((5000, 64), device="cuda", dtype=torch.bfloat16)
        centroids = torch.empty((100, 64), device="cuda")
        scores = torch_backend.products(points, centroids.bfloat16().T)
        ids = torch_backend.by_products(points)(centroids)
        sums, counts = torch_backend._sums(points, ids, 100)
    assert (scores.dtype, scores.shape) == (torch.float32, (5000, 100))
    assert ids.shape == (5000,)
    assert (sums.dtype, sums.shape, counts.shape) == (torch.float32, (100, 64), (100,))
    assert sums.device.type == "cuda"


@pytest.mark.parametrize("spherical", [False, True])
def test_points_held_in_bfloat16_lose_only_their_own_rounding(spherical: bool) -> None:
    rng = np.random.default_rng(0)
    sample = ((0.0 if spherical else 100.0) + rng.normal(size=(2000, 12))).astype(np.float32)
    start = sample[rng.choice(2000, 30, replace=False)].copy()
    if spherical:
        start, sample = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (start, sample))
    origin = start.mean(axis=0)
    held = torch.from_numpy(sample - origin).bfloat16()
    options = FitOptions(30, seed=1, iterations=8, spherical=spherical)
    found, inertia = torch_backend.lloyd(
        held, torch.from_numpy(start), torch.from_numpy(origin), options, torch_backend.by_products
    )
    points = held.double().numpy() + origin
    squared = ((points[:, None] - found.double().numpy()) ** 2).sum(2)
    assert squared.min(1).sum() == pytest.approx(inertia, rel=0.02)
    _, exact_inertia = torch_backend.fit(sample, start, options, "cpu")
    assert inertia == pytest.approx(exact_inertia, rel=0.01)
    norms = np.linalg.norm(found.numpy(), axis=1)
    assert not spherical or np.allclose(norms, 1, atol=1e-5)
