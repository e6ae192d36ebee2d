"""Ask a client for scores and choose a subset: the weekly flow, also started by hand."""

from __future__ import annotations

from typing import Any

from prefect import flow, pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from ecos_core.config import SampleConfig
from ecos_core.errors import InputError, PolicyError
from ecos_core.stages.scoring import planned
from ecos_core.stages.selecting import needs_scores
from tasks.artifacts import show_text
from tasks.indexing import resolve_clustering
from tasks.sampling import check_before_asking, log_selection, publish_selection, select_subset
from tasks.scoring import score_with_client

APPROVAL_TIMEOUT_S = 24 * 3600
APPROVAL_POLL_S = 3


class Approval(RunInput):
    """What the person who resumes the run is asked."""

    approve: bool = Field(
        False, title="Spend this privacy budget", description="Off: the run ends, nothing is spent."
    )


@flow(
    name="sample-subset", flow_run_name="sample {config.budget} with {config.sampler}", persist_result=False
)
def sample_subset(config: SampleConfig) -> dict[str, Any]:
    """Choose a budgeted, diverse subset of a lake that stands in for a client's data."""
    clustering = resolve_clustering(config.lake, config.clustering)
    check_before_asking(
        config.lake,
        clustering,
        config.out,
        budget=config.budget,
        sampler=config.sampler,
        config=config.sampling,
        seed=config.seed,
    )
    scored = None
    if needs_scores(config.sampler):
        if config.client is None:
            raise InputError(f"sampler '{config.sampler}' works from a client's scores; fill in the client")
        ask_for_approval(config)
        scored = score_with_client(config.lake, clustering, config.client, config.privacy)
    selected = select_subset(
        config.lake,
        clustering,
        config.out,
        budget=config.budget,
        sampler=config.sampler,
        config=config.sampling,
        seed=config.seed,
        scores=scored["scores"] if scored else None,
    )
    publish_selection(config.lake, selected["selection"], config.out, scored["privacy"] if scored else None)
    log_selection(config, selected, scored)
    return {**selected, "clustering": clustering, "privacy": scored["privacy"] if scored else None}


def ask_for_approval(config: SampleConfig) -> None:
    """Pause for a person when the release costs more than the threshold. Raises PolicyError when refused."""
    threshold = config.privacy.approve_above
    if threshold is None:
        return
    plan = planned(config.privacy)
    if plan.epsilon <= threshold:
        return
    text = (
        f"This release would spend **epsilon {plan.epsilon:.4g}** (delta {plan.delta:g}, {plan.adjacency}, sigma "
        f"{plan.sigma:.4g}) of the client's privacy budget; the threshold is {threshold:g}. "
        "Resume with *Spend this privacy budget* switched on, or cancel."
    )
    show_text("approval", text, "Waiting for a person")
    answer = pause_flow_run(
        wait_for_input=Approval.with_initial_data(description=text),
        timeout=APPROVAL_TIMEOUT_S,
        poll_interval=APPROVAL_POLL_S,
        key="approve-spend",
    )
    if not answer.approve:
        raise PolicyError(f"a person refused to spend epsilon {plan.epsilon:.4g}; nothing was spent")
