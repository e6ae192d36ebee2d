"""A small clustered pool with domains, labels and duplicate groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ecos_core.sampling.pool import ArrayPool

MakePool = Callable[..., ArrayPool]


def make_pool_of(
    size: int = 200, clusters: int = 8, dim: int = 5, seed: int = 0, **columns: Any
) -> ArrayPool:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dim)) * 4
    assignments = rng.integers(clusters, size=size)
    features = centres[assignments] + rng.normal(size=(size, dim))
    labels = np.array([f"label{v}" for v in rng.integers(3, size=size)])
    domains = np.where(assignments < clusters // 2, "photo", "sketch")
    columns = {"labels": labels, "domains": domains, **columns}
    return ArrayPool([f"s{i:05d}" for i in range(size)], features, assignments, centres, **columns)


@pytest.fixture
def make_pool() -> MakePool:
    return make_pool_of
