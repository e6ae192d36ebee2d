"""The samplers by name, all with one signature, all deterministic for a seed.

``SAMPLERS[name](pool, budget, scores=scores, config=config, seed=seed, selected=())``: a ``Selection`` of
``budget`` samples, those ``selected`` earlier counted in and not repeated. The first b of B picks are the
b-budget answer. All raise InputError for a budget below 1 or larger than the pool, and for what they need
and lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ecos_core.errors import InputError
from ecos_core.sampling.by_score import ecos, ecos_paper
from ecos_core.sampling.columns import balanced, oracle
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.coverage import k_center
from ecos_core.sampling.dsir import dsir
from ecos_core.sampling.pool import ArrayPool, Members, Pool
from ecos_core.sampling.proximity import proximity
from ecos_core.sampling.selection import Omitted, Selection
from ecos_core.sampling.uniform import random


class Sampler(Protocol):
    """What every sampler is."""

    def __call__(
        self,
        pool: Pool,
        budget: int,
        *,
        scores: Scores | None,
        config: SamplerConfig,
        seed: int,
        selected: Sequence[str] = (),
    ) -> Selection: ...


SAMPLERS: dict[str, Sampler] = {
    "ecos": ecos,
    "ecos_paper": ecos_paper,
    "random": random,
    "k_center": k_center,
    "proximity": proximity,
    "dsir": dsir,
    "oracle": oracle,
    "balanced": balanced,
}

# Those that ask the client, and so cost privacy.
NEED_SCORES = frozenset({"ecos", "ecos_paper", "proximity", "dsir"})

# The plain reading of the paper drops nothing.
KEEP_DUPLICATES = frozenset({"ecos_paper"})


def sampler_named(name: str) -> Sampler:
    """Raises InputError for a name that is not one."""
    if name not in SAMPLERS:
        raise InputError(f"sampler '{name}': choose from {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


__all__ = [
    "KEEP_DUPLICATES",
    "NEED_SCORES",
    "SAMPLERS",
    "ArrayPool",
    "Members",
    "Omitted",
    "Pool",
    "Sampler",
    "SamplerConfig",
    "Scores",
    "Selection",
    "sampler_named",
]
