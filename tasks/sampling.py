"""Diversely decompress: choose and write a subset."""

from __future__ import annotations

import time
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.clustering.clustering import Clustering
from ecos_core.lake.lake import Lake
from ecos_core.sampling.config import SamplerConfig
from ecos_core.stages.selecting import Choice, check_choice, select
from ecos_core.storage import Location


@task(name="select", cache_policy=NO_CACHE, task_run_name="select {budget} with {sampler}")
def select_subset(
    lake: str,
    clustering_id: str,
    out: str,
    *,
    budget: int,
    sampler: str,
    config: SamplerConfig,
    seed: int,
    scores: str | None = None,
) -> dict[str, Any]:
    """Returns the selection's folder and digest."""
    began = time.perf_counter()
    opened = Lake.open(lake)
    stored = select(
        opened,
        Clustering.open(opened, clustering_id),
        Choice(budget, sampler, config, seed),
        Location.of(scores) if scores else None,
        Location.of(out),
        named=True,
    )
    return {
        "selection": str(stored.folder),
        "digest": stored.digest,
        "selected": stored.rows,
        "seconds": time.perf_counter() - began,
    }


@task(name="check choice", cache_policy=NO_CACHE)
def check_before_asking(
    lake: str, clustering_id: str, *, budget: int, sampler: str, config: SamplerConfig, seed: int
) -> None:
    """Fail in the first second, before privacy is spent, on what could not be chosen."""
    check_choice(Choice(budget, sampler, config, seed), Clustering.open(Lake.open(lake), clustering_id))
