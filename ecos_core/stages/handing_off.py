"""Give a selection to labellers and take the labels back: the one order of it, for the command line and the flow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ecos_core.config import HandOffConfig, HandOutConfig
from ecos_core.errors import InputError
from ecos_core.labelling.export import NO_GUESSES, export_handoff
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.label_names import checked_label_set
from ecos_core.labelling.label_set import lake_classes
from ecos_core.labelling.preannotations import preannotations_digest, read_preannotations
from ecos_core.labelling.returns import handoff_status
from ecos_core.lake.lake import Lake
from ecos_core.progress import ProgressSink, silent
from ecos_core.stages.selecting import resolve_selection
from ecos_core.storage import Location, read_manifest
from ecos_core.storage.reuse import differences

WAITING_NAME = "waiting.json"
ConfigT = TypeVar("ConfigT", bound=HandOutConfig)


@dataclass(frozen=True)
class HandedOut:
    """A finished hand-off folder and the selection in it; ``kept``: it was there already."""

    handoff: str
    selection: str
    tasks: int
    groups: int
    preannotated: int
    assigned: dict[str, int]
    digest: str
    kept: bool


@dataclass(frozen=True)
class LabelsSoFar:
    """Counts of a hand-off's tasks. ``because``: why the open ones are open; ``answers``: all that ever came back."""

    tasks: int
    labelled: int
    open: int
    conflicts: int
    because: dict[str, int]
    complete: bool
    answers: int


@dataclass(frozen=True)
class Waiting:
    """The flow run that waits for a hand-off's labels, and the server that knows it."""

    run: str
    api_url: str | None


def named_in_full(config: ConfigT) -> ConfigT:
    """``…/latest`` by the selection's own folder, ``{selection}`` in the addresses by its name, and an empty label set
    by the classes that the lake has now: what is handed out stays the same however the lake grows."""
    selection = resolve_selection(config.selection)
    folders: dict[str, Any] = {
        name: str(getattr(config, name)).replace("{selection}", selection.name)
        for name in ("out", "labels")
        if name in type(config).model_fields
    }
    labels = config.label_set or list(lake_classes(Lake.open(config.lake)))
    return config.model_copy(update={"selection": str(selection), "label_set": labels, **folders})


def hand_out(config: HandOutConfig, progress: ProgressSink = silent) -> HandedOut:
    """Write the hand-off folder; one that is finished for all the same is kept.

    Raises InputError for a folder that holds another hand-off, and as ``export_handoff`` does.
    """
    config = named_in_full(config)
    kept = (Location.of(config.out) / "manifest.json").exists()
    if kept:
        _check_the_same(config, Handoff.open(config.out))
    else:
        export_handoff(
            config.selection,
            Lake.open(config.lake),
            config.out,
            format=config.format,
            label_set=config.label_set,
            instructions=config.instructions,
            preannotations=read_preannotations(config.preannotations)
            if config.preannotations
            else NO_GUESSES,
            annotators=config.annotators,
            overlap=config.overlap,
            raters=config.raters,
            image_url=config.image_url,
            progress=progress,
        )
    manifest = Handoff.open(config.out).manifest
    counts = {name: manifest.summary[name] for name in ("tasks", "groups", "preannotated", "assigned")}
    return HandedOut(
        handoff=config.out, selection=config.selection, digest=manifest.digest, kept=kept, **counts
    )


def _check_the_same(config: HandOutConfig, given: Handoff) -> None:
    """Raises InputError, naming what differs, unless the finished hand-off is what ``config`` asks for."""
    held = given.manifest
    if read_manifest(Location.of(config.selection), "selection").digest != held.inputs["selection"]:
        raise InputError(f"{config.out}: holds the hand-off of another selection; choose another folder")
    asked: dict[str, Any] = {
        "format": config.format, "instructions": config.instructions, "annotators": list(config.annotators),
        "overlap": config.overlap, "raters": config.raters, "image_url": config.image_url,
        "label_set": list(checked_label_set(config.label_set)),
    }  # fmt: skip
    stored = {**held.parameters, "label_set": list(given.label_set)}
    different = differences({name: stored.get(name) for name in asked}, asked)
    if preannotations_digest(config.preannotations) not in (given.preannotations, "gone"):
        different.append("preannotations")
    if different:
        raise InputError(
            f"{config.out}: holds a hand-off with another {', '.join(different).replace('_', ' ')}, which is kept; "
            "choose another folder"
        )


def labels_so_far(config: HandOffConfig) -> LabelsSoFar:
    """How many labels are back; nothing is where none was imported yet."""
    found = handoff_status(config.out, config.labels)
    return LabelsSoFar(
        tasks=found.tasks,
        labelled=found.labelled,
        open=found.open,
        conflicts=found.conflicts,
        because=found.because,
        complete=found.complete,
        answers=sum(found.statuses.values()),
    )


def note_waiting(handoff: str, waiting: Waiting | None) -> None:
    """Keep with the hand-off which run waits for its labels, so that whoever imports them knows; None: none does."""
    where = Location.of(handoff) / WAITING_NAME
    if waiting is not None:
        where.write_bytes(json.dumps(asdict(waiting)).encode())
    elif where.exists():
        where.remove()


def waiting_for(handoff: str | Path) -> Waiting | None:
    """The run that waits for this hand-off's labels, None where none is known to."""
    try:
        found = json.loads((Location.of(handoff) / WAITING_NAME).read_bytes())
        return Waiting(str(found["run"]), found["api_url"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
