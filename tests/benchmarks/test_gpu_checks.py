"""The checks meant for a GPU run small on the CPU, and find what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import gpu_checks  # noqa: E402
from ecos_core.clustering.torch_backend import by_products  # noqa: E402
from ecos_core.sampling.k_center import greedy_k_center  # noqa: E402

ROOT = Path(__file__).parents[2]


def test_every_check_is_right_on_the_cpu_and_says_where_it_ran() -> None:
    rows = gpu_checks.run(quick=True)
    assert len(rows) == 5
    assert all(row["same"] and row["ok"] for row in rows)
    assert all("no GPU" in row["device"] for row in rows if not torch.cuda.is_available())


def test_a_wrong_pick_is_found() -> None:
    features = gpu_checks.features_like_images(300, 12, 5, "cpu")[0]
    chosen = greedy_k_center(features.numpy(), 20, first=0).indices.tolist()
    assert gpu_checks._shortfall(features, chosen) < 1e-9
    nearest_the_first = int(np.linalg.norm(features - features[0], axis=1).argsort()[1])
    assert gpu_checks._shortfall(features, [*chosen[:10], nearest_the_first, *chosen[10:]]) > gpu_checks.TIE


def test_a_wrong_assignment_and_a_wrong_inertia_are_found() -> None:
    points = gpu_checks.features_like_images(300, 12, 5, "cpu")[0]
    centroids = points[:10].clone()
    inertia = float(torch.cdist(points, centroids).amin(1).square().sum())

    def off_by_one(points: Any) -> Any:
        return lambda centroids: (by_products(points)(centroids) + 1) % len(centroids)

    assert gpu_checks._fits(points, centroids, inertia, by_products)
    assert not gpu_checks._fits(points, centroids, inertia, off_by_one)
    assert not gpu_checks._fits(points, centroids, 0.5 * inertia, by_products)


def test_it_needs_only_numpy_and_torch() -> None:
    code = (
        "import sys\n"
        "absent = ('faiss', 'pydantic', 'sklearn', 'scipy', 'pandas', 'pyarrow', 'typer')\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import benchmarks.gpu_checks, ecos_core.sampling.k_center_triton"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
