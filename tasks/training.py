"""Train on a selection and evaluate on a public test set."""

from __future__ import annotations

import time
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.training.config import TrainConfig
from ecos_core.training.train import train_selection
from tasks.progress import PrefectProgress


@task(name="train", cache_policy=NO_CACHE, task_run_name="train {config.use.value} on {selection}")
def train_and_evaluate(
    lake: str,
    selection: str,
    out: str,
    *,
    config: TrainConfig,
    labels: str | None = None,
    test: str | None = None,
) -> dict[str, Any]:
    """Returns the model's folder, digest and metrics; finished work is found and reused."""
    began = time.perf_counter()
    result = train_selection(
        selection, lake, out, labels=labels, test=test, config=config, progress=PrefectProgress()
    )
    return {
        "model": result.out,
        "digest": result.manifest.digest,
        "metrics": result.metrics,
        "reused": result.reused,
        "seconds": time.perf_counter() - began,
    }
