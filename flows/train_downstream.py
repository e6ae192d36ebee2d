"""Train on a selection and evaluate: started when labels are back, or by hand."""

from __future__ import annotations

from typing import Any

from prefect import flow

from ecos_core.config import TrainingRun
from tasks.training import log_training, train_and_evaluate


@flow(name="train-downstream", flow_run_name="train on {config.selection}", persist_result=False)
def train_downstream(config: TrainingRun) -> dict[str, Any]:
    """Train on a selection's labels and evaluate on a public test set."""
    trained = train_and_evaluate(
        config.lake,
        config.selection,
        config.out,
        config=config.training,
        labels=config.labels,
        test=config.test,
    )
    log_training(config, trained)
    return trained
