"""Train on a selection and evaluate on a public test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import ClientConfig, PrivacyConfig, TrainingRun
from ecos_core.stages.evaluating import evaluate_at_client
from ecos_core.stages.selecting import resolve_selection
from ecos_core.storage import Location
from ecos_core.training.check import check_trainable
from ecos_core.training.config import TrainConfig, Use
from ecos_core.training.train import train_selection
from tasks.artifacts import show_link, show_table
from tasks.models import (
    accuracy_metrics,
    log_onnx_model,
    log_seed_figures,
    register,
    training_inputs,
)
from tasks.progress import PrefectProgress
from tasks.tracking import privacy_metrics, run_address, tracked_run


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


@task(name="check training", cache_policy=NO_CACHE)
def check_training(
    lake: str, fingerprint: str, uses: Sequence[Use], config: TrainConfig, *, test: str
) -> dict[str, Any]:
    """Fail before privacy is spent on what could not be trained or tested afterwards."""
    began = time.perf_counter()
    check_trainable(lake, fingerprint, uses, config, test=test)
    return {"seconds": time.perf_counter() - began}


@task(name="evaluate at the client", cache_policy=NO_CACHE)
def evaluate_with_client(model: str, client: ClientConfig, privacy: PrivacyConfig) -> dict[str, Any]:
    """Accuracy on the client's own data from noised counts; charged to its ledger, a repeat is free."""
    found = asdict(evaluate_at_client(model, client, privacy))
    show_table(
        "evaluation",
        [{"accuracy": found["accuracy"], "deviation of the noise": found["error"]}],
        "Accuracy on the client's own data, from noised counts",
    )
    return found


@task(name="log training", cache_policy=NO_CACHE)
def log_training(
    config: TrainingRun, trained: dict[str, Any], evaluated: dict[str, Any] | None = None
) -> str:
    """An MLflow run with the parameters, the figures and the model. Returns the run's id."""
    metrics = trained["metrics"]
    with tracked_run(config.tracking, f"train {metrics['use']}", tags={"ecos.kind": "training"}) as run:
        run.params(config.model_dump(mode="json"))
        addresses = {"lake": config.lake, "selection": config.selection, "test": config.test}
        inputs = training_inputs(trained["model"], addresses)
        run.inputs(inputs)
        tested = [row["test"]["accuracy"] for row in metrics["seeds"] if "test" in row]
        figures = {"trained_on": metrics["trained_on"], **accuracy_metrics(tested)}
        run.metrics(figures)
        log_seed_figures(run, metrics["seeds"])
        if evaluated is not None:
            run.metrics({"client/accuracy": evaluated["accuracy"], "client/noise": evaluated["error"]})
            run.metrics(privacy_metrics(evaluated["privacy"]))
            run.client.log_dict(run.id, evaluated["receipt"], "receipt/evaluation.json")
        model = Location.of(trained["model"])
        run.folder(model, [name for name in model.names() if not name.startswith("scratch")], "training")
        if log_onnx_model(run, trained["model"], metrics["seeds"][0]["seed"]) and tested:
            register(
                run,
                f"{config.tracking.experiment}-{metrics['use']}",
                accuracy=figures["accuracy_mean"],
                test_digest=inputs["test"][1],
                tags={"selection": inputs["selection"][1]},
            )
        address = run_address(run)
    show_table("training", [figures], f"Trained on {config.selection}")
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run")
    return run.id
