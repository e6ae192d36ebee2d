"""Give a selection to labellers, wait until the labels are back, go on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow, runtime
from prefect.deployments import run_deployment
from prefect.flow_runs import suspend_flow_run
from prefect.settings import PREFECT_API_URL

from ecos_core.config import HandOffConfig
from ecos_core.stages.handing_off import Waiting, named_in_full, note_waiting
from flows.settling import settled
from tasks.hand_off import hand_out, labels_so_far

SECONDS_A_DAY = 86_400
TRAINING = "train-downstream/on-labels"


@flow(name="hand-off", flow_run_name="hand off {config.selection}", persist_result=True)
def hand_off(config: HandOffConfig) -> dict[str, Any]:
    """Export a selection for labelling, suspend until its labels are back, then go on.

    Suspended, the run is a row in the server's database: it holds no process and survives restarts. Each import
    resumes it; with labels still open it suspends again. Started by hand, outside a deployment, it only exports.
    """
    # Resumed, it goes on with what it gave, also where ``…/latest`` is another by then.
    config = settled(config, named_in_full(config))
    given = hand_out(config)
    status = labels_so_far(config)
    if not status.complete and runtime.deployment.id:
        note_waiting(given.handoff, Waiting(str(runtime.flow_run.id), PREFECT_API_URL.value()))
        # The key counts the answers: resumed without a new one, by hand, the run goes on with what is there.
        suspend_flow_run(timeout=int(config.wait_days * SECONDS_A_DAY), key=f"answers-{status.answers}")
    note_waiting(given.handoff, None)
    if config.then_train is not None and status.labelled:
        training = config.then_train.model_copy(
            update={"labels": config.labels, "selection": given.selection}
        )
        run_deployment(
            TRAINING,
            parameters={"config": training.model_dump(mode="json")},
            timeout=0,
            idempotency_key=f"{runtime.flow_run.id}-{status.answers}",
        )
    return {
        "handoff": given.handoff,
        "selection": given.selection,
        **asdict(status),
        "labels": config.labels,
    }
