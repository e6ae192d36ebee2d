"""Ask a client for scores and choose a subset: the weekly flow, also started by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from ecos_core.config import SampleConfig
from ecos_core.stages.sampling import sample
from flows.approval import may_spend
from flows.settling import settled
from tasks.sampling import STEPS, log_selection, open_sampling, publish_selection, tell_what_happened
from tasks.tracking import check_tracking

ATTENDED = replace(STEPS, approve=may_spend, publish=publish_selection)


@flow(
    name="sample-subset", flow_run_name="sample {config.budget} with {config.sampler}", persist_result=False
)
def sample_subset(config: SampleConfig) -> dict[str, Any] | State[Any]:
    """Choose a budgeted, diverse subset of a lake that stands in for a client's data.

    Everything that can be known to fail fails before privacy is spent. A person who refuses the cost ends the run as
    cancelled; while it waits for one, it keeps the clustering that it was quoted for.
    """
    check_tracking(config.tracking)
    selecting = open_sampling(config)
    if config.privacy.approve_above is not None:
        settled(config, config.model_copy(update={"clustering": selecting.clustering.id}))
    answers = selecting.lake.folder("scores")
    sampled = sample(selecting, config.client, config.privacy, answers, ATTENDED)
    if sampled is None:
        return Cancelled(message="A person refused the cost; no privacy was spent.")
    log_selection(config, sampled)
    tell_what_happened(config, sampled)
    return sampled.told()
