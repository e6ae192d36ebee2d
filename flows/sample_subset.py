"""Ask a client for scores and choose a subset: the weekly flow, also started by hand."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from ecos_core.config import SampleConfig
from ecos_core.errors import InputError
from ecos_core.stages.selecting import needs_scores
from flows.approval import may_spend
from tasks.indexing import resolve_clustering
from tasks.sampling import (
    check_before_asking,
    log_selection,
    publish_selection,
    select_subset,
    tell_what_happened,
)
from tasks.scoring import score_with_client
from tasks.tracking import check_tracking


@flow(
    name="sample-subset", flow_run_name="sample {config.budget} with {config.sampler}", persist_result=False
)
def sample_subset(config: SampleConfig) -> dict[str, Any] | State[Any]:
    """Choose a budgeted, diverse subset of a lake that stands in for a client's data.

    Everything that can be known to fail fails before privacy is spent. A person who refuses the cost ends the run as
    cancelled.
    """
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
    check_tracking(config.tracking)
    scored = None
    if needs_scores(config.sampler):
        if config.client is None:
            raise InputError(f"sampler '{config.sampler}' works from a client's scores; fill in the client")
        if not may_spend(config.client, config.privacy):
            return Cancelled(message="A person refused the cost; no privacy was spent.")
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
        engine=config.engine,
    )
    publish_selection(config.lake, selected["selection"], config.out, scored["privacy"] if scored else None)
    log_selection(config, selected, scored)
    tell_what_happened(config, selected, scored)
    return {**selected, "clustering": clustering, "privacy": scored["privacy"] if scored else None}
