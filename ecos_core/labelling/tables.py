"""The other formats: CSV, Parquet, COCO and a tree of folders, out and back in.

Each ``write_*`` puts one file (or tree) into the hand-off's folder; each ``read_*`` yields the answers of
what comes back. Returned CSV and Parquet files need ``sample_id`` and ``label``; ``annotator`` and
``created_at`` are welcome.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Answer, Status
from ecos_core.labelling.tasks import Task
from ecos_core.storage.parquet import open_parquet

CSV_COLUMNS = [
    "sample_id",
    "image",
    "why",
    "group",
    "annotators",
    "suggested",
    "suggested_score",
    "licence",
    "label",
    "annotator",
]
UNLABELLED = "_unlabelled"


def write_csv(where: Path, tasks: Sequence[Task]) -> None:
    """One row a task with an empty ``label`` to fill in; a task for several annotators has a row for each."""
    with where.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for task in tasks:
            suggested = ["", ""]
            if (guess := task.preannotation) is not None:
                suggested = [guess.label, "" if guess.score is None else f"{guess.score:.4f}"]
            shared = " ".join(task.annotators)
            known = [task.sample_id, f"images/{task.file_name}", task.why, task.group, shared, *suggested]
            known.append(task.licence or "")
            for annotator in task.annotators or ("",):
                writer.writerow([*known, "", annotator])


def read_csv(where: Path, annotator: str) -> Iterator[Answer]:
    """Answers of a filled-in CSV. Raises InputError when a needed column is missing or it is no UTF-8
    text."""
    try:
        with where.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            _need_columns(where, rows.fieldnames or [])
            for number, row in enumerate(rows, start=2):
                yield _answer(row, annotator, f"line {number}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where}: not a CSV file in UTF-8; save it as such") from error


def read_parquet(where: Path, annotator: str) -> Iterator[Answer]:
    """Answers of a Parquet file. Raises InputError when it is none or a needed column is missing."""
    import pyarrow as pa

    try:
        file = open_parquet(where)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{where}: not a Parquet file") from error
    _need_columns(where, file.schema_arrow.names)
    wanted = [
        name for name in ("sample_id", "label", "annotator", "created_at") if name in file.schema_arrow.names
    ]
    row = 0
    for batch in file.iter_batches(columns=wanted, use_threads=False):
        for found in batch.to_pylist():
            row += 1
            yield _answer(found, annotator, f"row {row}")


def write_coco(
    where: Path, tasks: Sequence[Task], label_set: Sequence[str], sizes: Mapping[str, tuple[int, int]]
) -> None:
    """COCO's JSON: one image a task, suggestions as annotations of the whole image. ``sizes``: width and
    height."""
    categories = {label: number for number, label in enumerate(label_set, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, task in enumerate(tasks, start=1):
        width, height = sizes[task.sample_id]
        images.append(
            {
                "id": number, "file_name": f"images/{task.file_name}", "width": width, "height": height,
                "sample_id": task.sample_id, "why": task.why, "group": task.group,
                "annotators": list(task.annotators), "licence": task.licence,
            }
        )  # fmt: skip
        if (guess := task.preannotation) is not None and guess.label in categories:
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": categories[guess.label],
                    "bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0,
                    "score": guess.score, "suggested_by": guess.model,
                }
            )  # fmt: skip
    named = [{"id": number, "name": label} for label, number in categories.items()]
    where.write_text(
        json.dumps({"images": images, "categories": named, "annotations": annotations}), encoding="utf-8"
    )


def read_coco(where: Path, annotator: str) -> Iterator[Answer]:
    """Answers of a COCO file: an image's categories, suggestions left out. Raises InputError when it is
    none."""
    try:
        found = json.loads(where.read_bytes())
        names = {category["id"]: str(category["name"]) for category in found["categories"]}
        labels: dict[tuple[int, str], list[str]] = {}
        for annotation in found["annotations"]:
            if not annotation.get("suggested_by"):
                who = str(annotation.get("annotator") or annotator)
                labels.setdefault((annotation["image_id"], who), []).append(names[annotation["category_id"]])
        touched = {image for image, _ in labels}
        ids = {
            image["id"]: str(image.get("sample_id") or Path(image["file_name"]).stem)
            for image in found["images"]
        }
        for (image, who), given in labels.items():
            yield Answer.of_labels(ids[image], given, who, reference=f"image {image}")
        for image in ids.keys() - touched:
            yield Answer(ids[image], None, "", Status.EMPTY, reference=f"image {image}")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{where}: not a COCO file (images, categories and annotations are needed)"
        ) from error


def folder_for(label: str | None) -> str:
    """The folder of a label in an image folder; a slash or a leading dot is escaped."""
    if label is None:
        return UNLABELLED
    escaped = quote(label, safe=" +,;=@()")
    return f"%2E{escaped[1:]}" if escaped.startswith(".") else escaped


def read_image_folder(where: Path, annotator: str) -> Iterator[Answer]:
    """Answers of a tree ``label/sample_id.suffix``; what still lies in ``_unlabelled`` is empty.

    Raises InputError when it is no folder.
    """
    if not where.is_dir():
        raise InputError(f"{where}: not a folder of label folders")
    for path in sorted(where.glob("*/*")):
        if path.is_file() and not path.name.startswith("."):
            name = path.parent.name
            label = None if name == UNLABELLED else unquote(name)
            yield Answer.of_labels(path.stem, [label or ""], annotator, reference=f"{name}/{path.name}")


def _need_columns(where: Path, names: Iterable[str]) -> None:
    missing = {"sample_id", "label"} - set(names)
    if missing:
        raise InputError(
            f"{where}: column(s) {', '.join(sorted(missing))} missing; keep the header as it was handed out"
        )


def _answer(row: Mapping[str, Any], annotator: str, reference: str) -> Answer:
    label = row.get("label")
    who = str(row.get("annotator") or annotator)
    when = row.get("created_at")
    labels = [] if label is None else [str(label).strip()]
    return Answer.of_labels(
        str(row["sample_id"]).strip(), labels, who, str(when) if when else None, reference
    )
