"""Hand a selection out and see how far its labels are."""

from __future__ import annotations

import dataclasses
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import HandOffConfig
from ecos_core.errors import InputError
from ecos_core.labelling.export import NO_GUESSES, export_handoff
from ecos_core.labelling.preannotations import read_preannotations
from ecos_core.labelling.returns import Handoff, handoff_status
from ecos_core.lake.lake import Lake
from ecos_core.stages.selecting import resolve_selection
from ecos_core.storage import Location, read_manifest
from tasks.artifacts import show_table, show_text
from tasks.progress import PrefectProgress


def named_in_full(config: HandOffConfig) -> HandOffConfig:
    """``…/latest`` by the selection's own folder, ``{selection}`` in the addresses by its name."""
    selection = resolve_selection(config.selection)
    folders = {
        name: getattr(config, name).replace("{selection}", selection.name) for name in ("out", "labels")
    }
    return config.model_copy(update={"selection": str(selection), **folders})


@task(name="hand out", cache_policy=NO_CACHE)
def hand_out(config: HandOffConfig) -> dict[str, Any]:
    """Write the hand-off folder; one that is finished for this selection is kept. Returns it and its selection.

    Raises InputError for a folder that holds the hand-off of another selection.
    """
    selection = resolve_selection(config.selection)
    if (Location.of(config.out) / "manifest.json").exists():
        given = Handoff.open(config.out)
        if read_manifest(selection, "selection").digest != given.manifest.inputs["selection"]:
            raise InputError(f"{config.out}: holds the hand-off of another selection; choose another folder")
        return {"handoff": config.out, "tasks": len(given.tasks), "selection": str(selection)}
    report = export_handoff(
        selection,
        Lake.open(config.lake),
        config.out,
        format=config.format,
        label_set=config.label_set,
        instructions=config.instructions,
        preannotations=read_preannotations(config.preannotations) if config.preannotations else NO_GUESSES,
        annotators=config.annotators,
        overlap=config.overlap,
        progress=PrefectProgress(),
    )
    return {"handoff": config.out, "tasks": report.tasks, "selection": str(selection)}


@task(name="look for labels", cache_policy=NO_CACHE)
def labels_so_far(config: HandOffConfig) -> dict[str, Any]:
    """Counts of what is labelled, open and in conflict, shown on the run's page."""
    if not Location.of(config.labels).exists():
        tasks = len(Handoff.open(config.out).tasks)
        counts = {"tasks": tasks, "labelled": 0, "open": tasks, "conflicts": 0, "complete": False}
        answers = 0
    else:
        status = dataclasses.asdict(handoff_status(config.out, config.labels))
        counts = {name: status[name] for name in ("tasks", "labelled", "open", "conflicts", "complete")}
        answers = sum(status["statuses"].values())
    show_table("labels", [counts], f"Labels of {config.out}")
    if not counts["complete"]:
        show_text(
            "waiting",
            f"Waiting for labels: **{counts['labelled']} of {counts['tasks']}** are back. Bring more in with "
            f"`ecos handoff import {config.out} RETURNED --labels {config.labels}`, which resumes this run by itself; "
            "or resume it by hand to go on with what is there.",
            "Waiting for the labelling team",
        )
    return {**counts, "answers": answers}
