"""Take labels back, and say how far a hand-off has come."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError
from ecos_core.labelling import label_studio, tables
from ecos_core.labelling.agreement import Agreement, Suspect, agreement
from ecos_core.labelling.answers import Answer
from ecos_core.labelling.export import KIND, TASKS_NAME
from ecos_core.labelling.labels import LabelStore
from ecos_core.labelling.resolution import Resolution
from ecos_core.storage import Location, Manifest, read_manifest, read_shard

REVIEW_COLUMNS = ["sample_id", "image", "why", "votes", "suggested", "label", "annotator"]
DEFAULT_ANNOTATOR = "unnamed"


@dataclass(frozen=True)
class Handoff:
    """A finished hand-off folder: its manifest and the rows of ``tasks.parquet``."""

    folder: Location
    manifest: Manifest
    tasks: tuple[dict[str, Any], ...]

    @classmethod
    def open(cls, folder: str | PathLike[str] | Location) -> Handoff:
        """Raises InputError when there is no finished hand-off."""
        where = Location.of(folder)
        manifest = read_manifest(where, KIND)
        record = next(shard for shard in manifest.shards if shard.name == TASKS_NAME)
        return cls(where, manifest, tuple(read_shard(where, record).to_pylist()))

    @property
    def sample_ids(self) -> frozenset[str]:
        return frozenset(task["sample_id"] for task in self.tasks)

    @property
    def format(self) -> str:
        return str(self.manifest.parameters["format"])


@dataclass(frozen=True)
class HandoffStatus:
    """How far a hand-off has come; counts are of its own tasks unless said otherwise.

    ``complete`` is true when every task has a label. ``statuses`` counts all answers in the labels folder by
    what they are worth; ``progress`` is annotator -> (done, assigned).
    """

    tasks: int
    labelled: int
    open: int
    conflicts: int
    disagreements: int
    outside_label_set: int
    withdrawn: int
    complete: bool
    statuses: dict[str, int]
    labels: dict[str, int]
    progress: dict[str, tuple[int, int]]
    agreement: Agreement


@dataclass(frozen=True)
class ImportReport:
    """What one import did. ``new_answers`` is 0 when the same file was imported before."""

    new_answers: int
    repeated: bool
    unknown_labels: tuple[str, ...]
    unknown_samples: int
    status: HandoffStatus


def import_handoff(
    handoff: str | PathLike[str] | Location,
    returned: str | PathLike[str],
    labels: str | PathLike[str] | Location,
    *,
    format: str | None = None,
    annotator: str = DEFAULT_ANNOTATOR,
    annotators: Mapping[str, str] | None = None,
    accept_labels: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
    final: bool = False,
    now: datetime | None = None,
) -> ImportReport:
    """Add what came back to the labels folder. No label is ever lost: answers are appended, and whatever does
    not count (skipped, empty, unknown sample, outside the label set) is kept and counted by name.

    Args:
        handoff: the folder that was handed out.
        returned: the file, or for image-folder the tree, that came back; partial is fine, more may follow.
        labels: the labels folder; made when absent.
        format: default the hand-off's; a CSV answers any hand-off.
        annotator: who labelled, where the file does not say.
        annotators: names for Label Studio's users, by id or e-mail address.
        accept_labels: labels to add to the set; answers imported earlier count from then on.
        renames: old label -> new label, the same way.
        final: the answers of a reviewer, which override all votes.
        now: the time of answers that carry none; default the clock's.

    Raises InputError when the file is not of the format, or ``renames`` leads outside the label set.
    """
    given = Handoff.open(handoff)
    label_set = [*given.manifest.parameters["label_set"], *accept_labels]
    store = LabelStore.at(labels)
    in_force = {*label_set, *store.manifest().parameters["label_set"]}
    lost = sorted(set((renames or {}).values()) - in_force - set(renames or {}))
    if lost:
        raise InputError(
            f"rename to '{lost[0]}': not in the label set; add it with --accept-label '{lost[0]}'"
        )
    where = Path(returned)
    if not where.exists():
        raise InputError(f"{where}: no such file or folder")
    chosen = format or ("csv" if where.suffix == ".csv" else given.format)
    answers = list(_reader(chosen)(where, annotator, annotators or {}))
    new = store.append(
        answers,
        file_digest=_digest(where, annotator, final),
        source=f"{chosen}:{where.name}",
        handoff=given.manifest.digest,
        known=given.sample_ids,
        label_set=label_set,
        renames=renames or {},
        final=final,
        now=now,
    )
    resolution = store.resolve()
    strange = {answer.sample_id for answer in answers} - given.sample_ids
    unknown = sorted({label for count in resolution.outside.values() for label in count})
    status = _status(given, resolution)
    return ImportReport(len(answers) if new else 0, not new, tuple(unknown), len(strange), status)


def handoff_status(
    handoff: str | PathLike[str] | Location, labels: str | PathLike[str] | Location
) -> HandoffStatus:
    """How far the hand-off has come. Raises InputError when there is no finished hand-off."""
    return _status(Handoff.open(handoff), LabelStore.at(labels).resolve())


def write_review(
    handoff: str | PathLike[str] | Location,
    labels: str | PathLike[str] | Location,
    out: str | PathLike[str],
    suspects: Sequence[Suspect] = (),
) -> int:
    """Write a CSV of everything a person should look at again; filled in, it comes back as a final import.

    Returns the number of rows: conflicts first, then outvoted labels, withdrawn and outside ones, suspected
    errors.
    """
    given = Handoff.open(handoff)
    found = LabelStore.at(labels).resolve()
    reasons: dict[str, tuple[str, str]] = {}
    for suspect in suspects:
        reasons[suspect.sample_id] = (f"suspected error (quality {suspect.quality:.2f})", suspect.suggested)
    reasons |= dict.fromkeys(found.outside, ("outside the label set", ""))
    reasons |= {id: (f"skipped later by {who}", "") for id, who in found.withdrawn.items()}
    reasons |= {id: ("outvoted", count.most_common(1)[0][0]) for id, count in found.disagreements.items()}
    reasons |= dict.fromkeys(found.conflicts, ("conflict", ""))
    rank = ["conflict", "outvoted", "skipped", "outside", "suspected"]
    images = {task["sample_id"]: task["image"] for task in given.tasks}
    wanted = [id for id in reasons if id in images]
    wanted.sort(
        key=lambda id: (next(at for at, word in enumerate(rank) if reasons[id][0].startswith(word)), id)
    )
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REVIEW_COLUMNS)
        for id in wanted:
            cast = dict(found.votes.get(id, {}))
            cast |= {"outside the set": ", ".join(found.outside[id])} if id in found.outside else {}
            votes = "; ".join(f"{who}: {label}" for who, label in sorted(cast.items()))
            writer.writerow([id, images[id], reasons[id][0], votes, reasons[id][1], "", ""])
    return len(wanted)


def _status(given: Handoff, found: Resolution) -> HandoffStatus:
    ids = given.sample_ids
    labelled = {id: label for id, label in found.labels.items() if id in ids}
    names = sorted({name for task in given.tasks for name in task["annotators"]})
    progress = {}
    for name in names:
        mine = [task["sample_id"] for task in given.tasks if name in task["annotators"]]
        progress[name] = (sum(name in found.votes.get(id, {}) for id in mine), len(mine))
    tally: dict[str, int] = {}
    for label in labelled.values():
        tally[label.label] = tally.get(label.label, 0) + 1
    return HandoffStatus(
        tasks=len(ids),
        labelled=len(labelled),
        open=len(ids) - len(labelled),
        conflicts=len(ids & found.conflicts.keys()),
        disagreements=len(ids & found.disagreements.keys()),
        outside_label_set=len(ids & found.outside.keys()),
        withdrawn=len(ids & found.withdrawn.keys()),
        complete=len(labelled) == len(ids),
        statuses=dict(found.statuses),
        labels=dict(sorted(tally.items())),
        progress=progress,
        agreement=agreement({id: votes for id, votes in found.votes.items() if id in ids}),
    )


def _reader(format: str) -> Callable[[Path, str, Mapping[str, str]], Iterator[Answer]]:
    readers: dict[str, Callable[[Path, str, Mapping[str, str]], Iterator[Answer]]] = {
        "label-studio": lambda where, _, names: label_studio.read_export(where, names),
        "csv": lambda where, who, _: tables.read_csv(where, who),
        "parquet": lambda where, who, _: tables.read_parquet(where, who),
        "coco": lambda where, who, _: tables.read_coco(where, who),
        "image-folder": lambda where, who, _: tables.read_image_folder(where, who),
    }
    if format not in readers:
        raise InputError(f"format '{format}': choose one of {', '.join(readers)}")
    return readers[format]


def _digest(returned: Path, annotator: str, final: bool) -> str:
    """Identifies an import: the file's content, and what changes its meaning."""
    digest = hashlib.sha256(f"{annotator}\0{final}\0".encode())
    if returned.is_dir():
        for path in sorted(returned.glob("*/*")):
            digest.update(f"{path.parent.name}/{path.name}\0".encode())
    else:
        digest.update(returned.read_bytes())
    return digest.hexdigest()
