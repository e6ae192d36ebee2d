"""Train on a selection and evaluate: started when labels are back, or by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from ecos_core.config import TrainingRun
from ecos_core.stages.evaluating import check_evaluation
from flows.approval import may_spend
from tasks.training import evaluate_with_client, log_training, train_and_evaluate


@flow(name="train-downstream", flow_run_name="train on {config.selection}", persist_result=False)
def train_downstream(config: TrainingRun) -> dict[str, Any] | State[Any]:
    """Train on a selection's labels and evaluate: on a public test set, which is free, and, where asked for, on the
    client's own data, which is charged. A person who refuses the cost ends the run as cancelled."""
    if config.evaluation is not None:
        check_evaluation(config.training.use.value, config.evaluation)
    trained = train_and_evaluate(
        config.lake,
        config.selection,
        config.out,
        config=config.training,
        labels=config.labels,
        test=config.test,
    )
    evaluated = None
    if config.client is not None and config.evaluation is not None:
        if not may_spend(config.client, config.evaluation):
            return Cancelled(message="A person refused the cost; no privacy was spent.")
        evaluated = evaluate_with_client(trained.model, config.client, config.evaluation, config.lake)
    log_training(config, trained, evaluated)
    return {**asdict(trained), "evaluation": None if evaluated is None else evaluated.told()}
