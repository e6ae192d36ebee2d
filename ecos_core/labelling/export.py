"""Give a selection to labellers: a folder with the images, the tasks in their tool's format, and what to do
with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from ecos_core.errors import InputError
from ecos_core.labelling import label_studio, tables
from ecos_core.labelling.guide import guide
from ecos_core.labelling.preannotations import Guesses
from ecos_core.labelling.tasks import Preannotation, Task, build_tasks, share_out
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.lookup import image_rows
from ecos_core.lake.near_duplicates import near_duplicates
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import (
    Location,
    Manifest,
    ShardRecord,
    read_manifest,
    read_shard,
    write_manifest,
    write_shard,
)

Format = Literal["label-studio", "coco", "csv", "parquet", "image-folder"]
FORMATS: tuple[str, ...] = get_args(Format)
KIND = "handoff"
NO_GUESSES = Guesses()
TASKS_NAME = "tasks.parquet"
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
    format: Format,
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
        format: of the tasks.
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
    _check_labels(label_set, preannotations.by_sample, format)
    source = read_manifest(Location.of(selection), "selection")
    picks = read_shard(Location.of(selection), _named(source, "selection.parquet"))
    within = lake.snapshot(snapshot)
    ids = picks["sample_id"].to_pylist()
    facts = {row["sample_id"]: row for row in image_rows(lake, within, ids, _IMAGE_COLUMNS)}
    tasks = share_out(
        build_tasks(picks, facts, preannotations.by_sample, near_duplicates(lake, within).group_of),
        annotators,
        overlap=overlap,
        raters=raters,
    )
    _write_images(folder, tasks, lake, within, format, progress)
    sizes = {id: (int(row["width"]), int(row["height"])) for id, row in facts.items()}
    _write_format(folder, tasks, sizes, format, label_set, instructions, image_url)
    (folder / "README.md").write_text(
        guide(format, label_set, instructions, folder.name, _first_answers(tasks, preannotations)),
        encoding="utf-8",
    )
    assigned = {name: sum(name in task.annotators for task in tasks) for name in annotators}
    manifest = Manifest(
        kind=KIND,
        inputs={
            "selection": source.digest,
            "lake": within.id,
            **({"preannotations": preannotations.digest} if preannotations.digest else {}),
        },
        parameters={
            "format": format, "label_set": list(label_set), "instructions": instructions,
            "annotators": list(annotators), "overlap": overlap, "raters": raters, "image_url": image_url,
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


def task_table(tasks: Sequence[Task]) -> Any:
    """``tasks.parquet``: one row a task, what import and status need to know."""
    import pyarrow as pa

    guesses = [task.preannotation for task in tasks]
    columns: dict[str, tuple[list[Any], Any]] = {
        "sample_id": ([task.sample_id for task in tasks], pa.string()),
        "order": ([task.order for task in tasks], pa.int64()),
        "cluster": ([task.cluster for task in tasks], pa.int32()),
        "score": ([task.score for task in tasks], pa.float64()),
        "reason": ([task.reason for task in tasks], pa.string()),
        "group": ([task.group for task in tasks], pa.int64()),
        "image": ([f"images/{task.file_name}" for task in tasks], pa.string()),
        "licence": ([task.licence for task in tasks], pa.string()),
        "annotators": ([list(task.annotators) for task in tasks], pa.list_(pa.string())),
        "suggested": ([guess.label if guess else None for guess in guesses], pa.string()),
        "suggested_score": ([guess.score if guess else None for guess in guesses], pa.float64()),
    }
    return pa.table({name: pa.array(values, type) for name, (values, type) in columns.items()})


def _empty_folder(where: Location) -> Path:
    if where.exists() and where.names():
        raise InputError(f"{where}: not empty; choose another folder for the hand-off")
    where.make_folder()
    return where.path


def _named(manifest: Manifest, name: str) -> ShardRecord:
    for shard in manifest.shards:
        if shard.name == name:
            return shard
    raise InputError(f"the selection's manifest lists no {name}; make the selection again")


def _check_labels(label_set: Sequence[str], guesses: Mapping[str, Preannotation], format: str) -> None:
    if format not in FORMATS:
        raise InputError(f"format '{format}': choose one of {', '.join(FORMATS)}")
    if (
        len(set(label_set)) != len(label_set)
        or len(label_set) < 2
        or not all(name.strip() for name in label_set)
    ):
        raise InputError("label set: at least two different labels are needed, none of them empty")
    strange = sorted({guess.label for guess in guesses.values()} - set(label_set))
    if strange:
        raise InputError(
            f"preannotations: '{strange[0]}' is not in the label set; add it, or rename it in the guesses"
        )


def _write_images(
    folder: Path, tasks: Sequence[Task], lake: Lake, snapshot: Snapshot, format: str, progress: ProgressSink
) -> None:
    """The images under ``images/``, inside ``images.parquet``, or sorted into the folders of their
    suggestions."""
    by_id = {task.sample_id: task for task in tasks}
    rows = image_rows(lake, snapshot, list(by_id), ["bytes"])
    if format == "parquet":
        _write_image_parquet(folder / "tasks-with-images.parquet", rows, by_id, progress)
        return
    places = {task.sample_id: folder / _image_place(task, format) for task in tasks}
    for parent in {place.parent for place in places.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_WRITERS) as pool:
        written = pool.map(lambda row: _write_durably(places[row["sample_id"]], row["bytes"]), rows)
        for done, _ in enumerate(written, start=1):
            if done % 500 == 0 or done == len(tasks):
                progress(Progress("writing images", done, len(tasks), "images"))


def _image_place(task: Task, format: str) -> str:
    if format != "image-folder":
        return f"images/{task.file_name}"
    guess = task.preannotation
    return f"images/{tables.folder_for(guess.label if guess else None)}/{task.file_name}"


def _write_durably(place: Path, data: bytes) -> None:
    with place.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_image_parquet(
    where: Path,
    rows: Iterator[dict[str, Any]],
    by_id: Mapping[str, Task],
    progress: ProgressSink,
    block: int = 500,
) -> None:
    """Rows in the lake's order with the columns of ``tasks.parquet`` and Hugging Face's ``image`` struct."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = (
        task_table([]).schema.append(pa.field("image_file", image)).append(pa.field("label", pa.string()))
    )
    done = 0
    with pq.ParquetWriter(where, schema, compression="zstd") as writer:
        while batch := [row for _, row in zip(range(block), rows, strict=False)]:
            tasks = [by_id[row["sample_id"]] for row in batch]
            pictures = [
                {"bytes": row["bytes"], "path": task.file_name}
                for row, task in zip(batch, tasks, strict=True)
            ]
            table = task_table(tasks).append_column("image_file", pa.array(pictures, image))
            writer.write_table(table.append_column("label", pa.nulls(len(tasks), pa.string())))
            done += len(batch)
            progress(Progress("writing images", done, len(by_id), "images"))


def _write_format(
    folder: Path,
    tasks: Sequence[Task],
    sizes: Mapping[str, tuple[int, int]],
    format: str,
    label_set: Sequence[str],
    instructions: str,
    image_url: str | None,
) -> None:
    if format == "label-studio":
        (folder / "label_config.xml").write_text(
            label_studio.label_config(label_set, instructions), encoding="utf-8"
        )
        for name, part in _batches(tasks):
            addresses = (
                f"{image_url.rstrip('/')}/{task.file_name}"
                if image_url
                else label_studio.local_file(folder.name, task)
                for task in part
            )
            label_studio.write_tasks(
                folder / f"{name}.json",
                (
                    label_studio.task_json(task, address)
                    for task, address in zip(part, addresses, strict=True)
                ),
            )
    elif format == "csv":
        for name, part in _batches(tasks):
            tables.write_csv(folder / f"{name}.csv", part)
    elif format == "coco":
        tables.write_coco(folder / "tasks.json", tasks, label_set, sizes)


def _batches(tasks: Sequence[Task]) -> Iterator[tuple[str, list[Task]]]:
    """All tasks, and then those of each annotator."""
    yield "tasks", list(tasks)
    for name in sorted({name for task in tasks for name in task.annotators}):
        part = [task for task in tasks if name in task.annotators]
        yield f"tasks-{tables.folder_for(name)}", part
