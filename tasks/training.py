"""Train on a selection and evaluate on a public test set."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import ClientConfig, PrivacyConfig, TrainingRun
from ecos_core.stages.evaluating import ClientEvaluation, evaluate_at_client
from ecos_core.stages.training import Trained, train
from ecos_core.storage import Location
from ecos_core.training.check import check_trainable
from ecos_core.training.config import TrainConfig, Use
from tasks.artifacts import show_link, show_table
from tasks.models import accuracy_metrics, log_onnx_model, log_seed_figures, register, training_inputs
from tasks.progress import PrefectProgress
from tasks.timing import core_work
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
) -> Trained:
    """Finished work is found and reused."""
    with core_work():
        return train(lake, selection, out, config, labels=labels, test=test, progress=PrefectProgress())


@task(name="check training", cache_policy=NO_CACHE)
def check_training(
    lake: str, fingerprint: str, uses: Sequence[Use], config: TrainConfig, *, test: str
) -> None:
    """Fail before privacy is spent on what could not be trained or tested afterwards."""
    with core_work():
        check_trainable(lake, fingerprint, uses, config, test=test)


@task(name="evaluate at the client", cache_policy=NO_CACHE)
def evaluate_with_client(
    model: str, client: ClientConfig, privacy: PrivacyConfig, lake: str | None = None
) -> ClientEvaluation:
    """Accuracy on the client's own data from noised counts; charged to its ledger, a repeat is free."""
    found = evaluate_at_client(model, client, privacy, lake)
    show_table(
        "evaluation",
        [{"accuracy": found.accuracy, "deviation of the noise": found.error}],
        "Accuracy on the client's own data, from noised counts",
    )
    return found


@task(name="log training", cache_policy=NO_CACHE)
def log_training(config: TrainingRun, trained: Trained, evaluated: ClientEvaluation | None = None) -> str:
    """An MLflow run with the parameters, the figures and the model. Returns the run's id."""
    use = config.training.use.value
    with tracked_run(config.tracking, f"train {use}", tags={"ecos.kind": "training"}) as run:
        run.params(config.model_dump(mode="json"))
        addresses = {"lake": config.lake, "selection": config.selection, "test": config.test}
        inputs = training_inputs(trained.model, addresses)
        run.inputs(inputs)
        accuracy = accuracy_metrics([row["test"]["accuracy"] for row in trained.seeds if "test" in row])
        figures = {"trained_on": trained.metrics["trained_on"], **accuracy}
        run.metrics(figures)
        log_seed_figures(run, trained.seeds)
        if evaluated is not None:
            run.metrics({"client/accuracy": evaluated.accuracy, "client/noise": evaluated.error})
            run.metrics(privacy_metrics(evaluated.account))
            run.client.log_dict(run.id, evaluated.receipt, "receipt/evaluation.json")
        run.folder(Location.of(trained.model), trained.files, "training")
        if log_onnx_model(run, trained.model, trained.seeds[0]["seed"]) and accuracy:
            register(
                run,
                f"{config.tracking.experiment}-{use}",
                accuracy=trained.accuracy,
                test_digest=inputs["test"][1],
                tags={"selection": inputs["selection"][1]},
            )
        address = run_address(run)
    show_table("training", [figures], f"Trained on {config.selection}")
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run")
    return run.id
