"""Hand a selection out and see how far its labels are."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import HandOffConfig
from ecos_core.stages import handing_off
from ecos_core.stages.handing_off import HandedOut, LabelsSoFar
from tasks.artifacts import show_table, show_text
from tasks.progress import PrefectProgress


@task(name="hand out", cache_policy=NO_CACHE)
def hand_out(config: HandOffConfig) -> HandedOut:
    """Write the hand-off folder; one that is finished for all the same is kept.

    Raises InputError for a folder that holds another hand-off.
    """
    return handing_off.hand_out(config, PrefectProgress())


@task(name="look for labels", cache_policy=NO_CACHE)
def labels_so_far(config: HandOffConfig) -> LabelsSoFar:
    """Counts of what is labelled, open and in conflict, shown on the run's page."""
    found = handing_off.labels_so_far(config)
    counts = {
        "tasks": found.tasks, "labelled": found.labelled, "open": found.open, "conflicts": found.conflicts,
        "complete": found.complete,
    }  # fmt: skip
    show_table("labels", [counts], f"Labels of {config.out}")
    if not found.complete:
        why = ", ".join(f"{count} {reason}" for reason, count in found.because.items())
        show_text(
            "waiting",
            f"Waiting for labels: **{found.labelled} of {found.tasks}** are back ({why}). Bring more in with "
            f"`ecos handoff import {config.out} RETURNED --labels {config.labels}`, which resumes this run by itself; "
            "or resume it by hand to go on with what is there.",
            "Waiting for the labelling team",
        )
    return found
