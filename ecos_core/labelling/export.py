"""Give a selection to labellers: a folder with the images, the tasks in their tool's format, and what to do
with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.labelling.formats import LabelFormat, Outgoing, format_named
from ecos_core.labelling.formats.folder_names import SEPARATE
from ecos_core.labelling.guide import guide
from ecos_core.labelling.handoff import KIND, TASKS_NAME
from ecos_core.labelling.label_names import checked_label_set, nearest_label
from ecos_core.labelling.people import person
from ecos_core.labelling.preannotations import Guesses
from ecos_core.labelling.task_table import task_table
from ecos_core.labelling.tasks import Preannotation, Task, build_tasks, share_out
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.lookup import image_rows
from ecos_core.lake.near_duplicates import near_duplicates
from ecos_core.names import tidy
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.sampling.store import read_picks
from ecos_core.storage import Location, Manifest, write_manifest, write_shard

NO_GUESSES = Guesses()
_IMAGE_COLUMNS = ["media_type", "width", "height", "licence", "attribution"]
_WRITERS = 8


@dataclass(frozen=True)
class HandoffReport:
    """What was handed out. ``assigned``: annotator -> tasks; ``groups``: near-duplicates together count once;
    ``preannotated``: tasks with a first answer."""

    folder: str
    format: str
    tasks: int
    groups: int
    preannotated: int
    assigned: dict[str, int]
    digest: str


def export_handoff(
    selection: str | PathLike[str] | Location,
    lake: Lake,
    out: str | PathLike[str] | Location,
    *,
    format: str,
    label_set: Sequence[str],
    instructions: str = "",
    preannotations: Guesses = NO_GUESSES,
    annotators: Sequence[str] = (),
    overlap: float = 0.0,
    raters: int = 2,
    image_url: str | None = None,
    snapshot: str | None = None,
    progress: ProgressSink = silent,
) -> HandoffReport:
    """Write the hand-off folder; the manifest comes last, so a folder without one is unfinished.

    Args:
        selection: folder of a selection.
        lake: where its images are.
        out: an empty or absent local folder.
        format: of the tasks, see ``FORMATS``.
        label_set: what may be answered, at least two labels; may be changed at import.
        instructions: shown to the labellers.
        preannotations: first answers. One outside the label set is refused; what they cost the client is
            told to the labellers and kept in the manifest.
        annotators, overlap, raters: see ``share_out``; one tasks file each for Label Studio and CSV.
        image_url: Label Studio loads ``IMAGE_URL/<file>``; default: its local files, under the folder's name.
        snapshot: of the lake; default the newest.

    Raises InputError for anything that does not fit together; nothing is left half-written but images.
    """
    folder = _empty_folder(Location.of(out))
    kind = format_named(format)
    labels = checked_label_set(label_set)
    guesses = _in_the_set(preannotations.by_sample, labels)
    picks, source = read_picks(selection)
    within = lake.snapshot(snapshot)
    ids = picks["sample_id"].to_pylist()
    facts = {row["sample_id"]: row for row in image_rows(lake, within, ids, _IMAGE_COLUMNS)}
    tasks = share_out(
        build_tasks(picks, facts, guesses, near_duplicates(lake, within).group_of),
        _one_name_each(annotators),
        overlap=overlap,
        raters=raters,
    )
    out_going = Outgoing(
        folder=folder,
        tasks=tasks,
        sizes={id: (int(row["width"]), int(row["height"])) for id, row in facts.items()},
        label_set=labels,
        instructions=instructions,
        image_url=image_url,
        pictures=lambda: _pictures(lake, within, tasks, progress),
    )
    _write_images(out_going, kind)
    kind.write(out_going)
    told = guide(kind, labels, instructions, folder, _first_answers(tasks, preannotations))
    (folder / "README.md").write_text(told, encoding="utf-8")
    assigned = {name: sum(name in task.annotators for task in tasks) for name in annotators}
    manifest = Manifest(
        kind=KIND,
        inputs={
            "selection": source.digest,
            "lake": within.id,
            **({"preannotations": preannotations.digest} if preannotations.digest else {}),
        },
        parameters={
            "format": format, "label_set": list(labels), "instructions": instructions,
            "annotators": list(annotators), "overlap": overlap, "raters": raters, "image_url": image_url,
            "suggested_in": SEPARATE,
        },
        shards=[write_shard(Location.of(folder), TASKS_NAME, task_table(tasks))],
        summary={
            "tasks": len(tasks),
            "groups": len({task.group for task in tasks}),
            "assigned": assigned,
            "preannotated": sum(task.preannotation is not None for task in tasks),
            "privacy": dict(preannotations.privacy) if preannotations.privacy else None,
        },
    )  # fmt: skip
    digest = write_manifest(Location.of(folder), manifest)
    found = manifest.summary
    return HandoffReport(
        str(folder), format, len(tasks), found["groups"], found["preannotated"], assigned, digest
    )


def _first_answers(tasks: Sequence[Task], guesses: Guesses) -> str:
    """A sentence on where the first answers are from, or nothing."""
    shown = sum(task.preannotation is not None for task in tasks)
    return f"{shown:,} of {len(tasks):,} images come with a first answer: {guesses.origin}." if shown else ""


def _empty_folder(where: Location) -> Path:
    if where.exists() and where.names():
        raise InputError(f"{where}: not empty; choose another folder for the hand-off")
    where.make_folder()
    return where.path


def _in_the_set(guesses: Mapping[str, Preannotation], labels: Sequence[str]) -> dict[str, Preannotation]:
    """The guesses in the label set's spelling. Raises InputError for one outside it."""
    spelled = {
        id: Preannotation(tidy(guess.label), guess.score, guess.model) for id, guess in guesses.items()
    }
    strange = sorted({guess.label for guess in spelled.values()} - set(labels))
    if strange:
        near = nearest_label(strange[0], labels)
        meant = f" (did you mean '{near}'?)" if near else ""
        raise InputError(
            f"preannotations: '{strange[0]}' is not in the label set{meant}; add it, or rename it in the guesses"
        )
    return spelled


def _one_name_each(annotators: Sequence[str]) -> Sequence[str]:
    """Raises InputError for two names that would come back as one person."""
    folded = [person(name).casefold() for name in annotators]
    twice = [name for name, key in zip(annotators, folded, strict=True) if key and folded.count(key) > 1]
    if twice:
        raise InputError(f"annotators: {' and '.join(twice[:2])} are one name; every name must be given once")
    return annotators


def _pictures(
    lake: Lake, snapshot: Snapshot, tasks: Sequence[Task], progress: ProgressSink
) -> Iterator[tuple[str, bytes]]:
    rows = image_rows(lake, snapshot, [task.sample_id for task in tasks], ["bytes"])
    for done, row in enumerate(rows, start=1):
        yield row["sample_id"], row["bytes"]
        if done % 500 == 0 or done == len(tasks):
            progress(Progress("writing images", done, len(tasks), "images"))


def _write_images(out: Outgoing, kind: LabelFormat) -> None:
    if kind.place is None:
        return
    places = {task.sample_id: out.folder / kind.place(task) for task in out.tasks}
    for parent in {place.parent for place in places.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_WRITERS) as pool:
        for _ in pool.map(lambda picture: _write_durably(places[picture[0]], picture[1]), out.pictures()):
            pass


def _write_durably(place: Path, data: bytes) -> None:
    with place.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
