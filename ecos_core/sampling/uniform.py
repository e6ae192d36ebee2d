"""Uniformly at random from the whole pool, without replacement: what a user without scores would do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.distinct import without_duplicates
from ecos_core.sampling.filling import check_budget
from ecos_core.sampling.listing import selection_of
from ecos_core.sampling.pool import Pool, locate
from ecos_core.sampling.selection import RANDOM, Selection

Integers = npt.NDArray[np.int64]


@without_duplicates
def random(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """The first of a seeded random permutation of the pool; samples ``selected`` earlier are passed over."""
    earlier = locate(pool, selected) if selected else {}
    wanted = check_budget(pool, budget, config, len(earlier))
    positions = shuffled_prefix(pool.size, min(wanted + len(earlier), pool.size), seed)
    return selection_of("random", pool, positions, wanted, earlier, RANDOM)


def shuffled_prefix(size: int, count: int, seed: int) -> Integers:
    """The first ``count`` of a random permutation of range(size), in time and memory of ``count``
    (Fisher-Yates on a sparse array); a longer prefix starts with a shorter one."""
    draws = np.random.default_rng(seed).random(count)
    moved: dict[int, int] = {}
    out = np.empty(count, dtype=np.int64)
    for i, draw in enumerate(draws.tolist()):
        j = i + int(draw * (size - i))
        out[i] = moved.get(j, j)
        moved[j] = moved.get(i, i)
    return out
