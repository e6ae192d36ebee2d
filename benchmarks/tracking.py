"""A benchmark in MLflow: one parent run, each row of the table nested in it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.grid import Grid
from ecos_core.progress import Progress, ProgressSink, silent

PRIVACY = ("epsilon", "delta", "sigma")
FIGURES = ("accuracy_mean", "accuracy_std", "accuracy_low", "accuracy_high")


def log_rows(
    name: str,
    rows: Sequence[dict[str, Any]],
    grid: Grid,
    uri: str,
    *,
    digest: str,
    artefacts: Iterable[Path] = (),
    progress: ProgressSink = silent,
) -> str:
    """Log the table as experiment ``bench-NAME`` at ``uri``; returns the parent run's id. No NaN or
    infinity is sent.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(f"bench-{name}")
    experiment = found.experiment_id if found else client.create_experiment(f"bench-{name}")
    now = int(time.time() * 1000)
    parent = client.create_run(experiment, run_name=name, tags={"data_digest": digest})
    settings = [Param(key, str(value)) for key, value in grid.model_dump(mode="json").items()]
    client.log_batch(parent.info.run_id, params=settings)
    for done, row in enumerate(rows):
        title = f"{row['pool']} {row['client']} {row['sampler']} {row['budget'] or 'all'}"
        run = client.create_run(experiment, run_name=title, tags={"mlflow.parentRunId": parent.info.run_id})
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, now, 0) for key, value in _metrics(row).items()],
            params=[Param(key, str(row[key])) for key in ("pool", "client", "sampler", "budget", "seeds")],
            tags=[RunTag("average", str(row["client"] == "average"))],
        )
        client.set_terminated(run.info.run_id)
        progress(Progress("tracking", done + 1, len(rows), "runs"))
    for path in artefacts:
        client.log_artifact(parent.info.run_id, str(path))
    client.set_terminated(parent.info.run_id)
    return str(parent.info.run_id)


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    named = {key: row[key] for key in FIGURES} | {f"privacy/{key}": row[key] for key in PRIVACY}
    return {key: float(value) for key, value in named.items() if value is not None and math.isfinite(value)}
