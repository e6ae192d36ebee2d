"""Train on a selection and evaluate on a public test set."""

from __future__ import annotations

import time
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import TrainingRun
from ecos_core.stages.selecting import resolve_selection
from ecos_core.storage import Location
from ecos_core.training.config import TrainConfig
from ecos_core.training.train import train_selection
from tasks.artifacts import show_link, show_table
from tasks.progress import PrefectProgress
from tasks.tracking import run_address, tracked_run


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
        resolve_selection(selection),
        lake,
        out,
        labels=labels,
        test=test,
        config=config,
        progress=PrefectProgress(),
    )
    return {
        "model": result.out,
        "digest": result.manifest.digest,
        "metrics": result.metrics,
        "reused": result.reused,
        "seconds": time.perf_counter() - began,
    }


@task(name="log training", cache_policy=NO_CACHE)
def log_training(config: TrainingRun, trained: dict[str, Any]) -> str:
    """An MLflow run with the parameters, the figures and the model. Returns the run's id."""
    metrics = trained["metrics"]
    with tracked_run(config.tracking, f"train {metrics['use']}", tags={"ecos.kind": "training"}) as run:
        run.params(config.model_dump(mode="json"))
        run.inputs({"model": (trained["model"], trained["digest"])})
        figures = {
            name: metrics[name] for name in ("accuracy_mean", "accuracy_std", "trained_on") if name in metrics
        }
        run.metrics(figures)
        for row in metrics["seeds"]:
            for epoch in row["history"]:
                values = {
                    f"seed{row['seed']}/{name}": value for name, value in epoch.items() if name != "epoch"
                }
                run.metrics(values, step=int(epoch.get("epoch", 0)))
        model = Location.of(trained["model"])
        run.folder(model, [name for name in model.names() if not name.startswith("scratch")], "model")
        address = run_address(run)
    show_table("training", [figures], f"Trained on {config.selection}")
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run")
    return run.id
