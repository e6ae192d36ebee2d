"""Rows with an answer each: what tables of text, Parquet files and Label Studio's short JSON have in common."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Said
from ecos_core.labelling.label_names import labels_in
from ecos_core.storage.csv_files import open_csv

LABEL = "label"
SAMPLE_COLUMNS = ("sample_id", "image", "file_name", "filename", "file_upload")
TASK_COLUMNS = (
    "sample_id", "image", "why", "group", "annotators", "suggested", "suggested_score", "licence", LABEL, "annotator",
)  # fmt: skip
# What Label Studio adds to a task's own columns in its tables; the columns left over are its questions.
_STUDIO_COLUMNS = frozenset(
    (*TASK_COLUMNS, *SAMPLE_COLUMNS, "annotation_id", "id", "lead_time", "created_at", "updated_at", "cluster", "order",
     "attribution", "agreement", "sentiment", "history")
)  # fmt: skip


@contextmanager
def open_table(where: Path) -> Iterator[csv.DictReader[str]]:
    """A table of text with its columns in small letters. Raises InputError for a workbook, or as ``open_csv`` does."""
    with where.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise InputError(
                f"{where}: a workbook, not a table of text; save it from the spreadsheet as CSV in UTF-8"
            )
    with open_csv(where) as rows:
        columns = [name.casefold() for name in rows.fieldnames or []]
        twice = [name for name in (LABEL, *SAMPLE_COLUMNS, "annotator") if columns.count(name) > 1]
        if twice:
            raise InputError(f"{where}: has the column {twice[0]} twice; keep one of them")
        rows.fieldnames = columns
        yield rows


def label_column(where: Path, columns: Collection[str], control: str | None) -> str:
    """The column that holds the answers. Raises InputError where it, or every column that names the sample, is
    missing, or where it is one of several."""
    if not any(name in columns for name in SAMPLE_COLUMNS):
        missing = "sample_id" if LABEL in columns else "label, sample_id"
        raise InputError(f"{where}: column(s) {missing} missing; keep the header as it was handed out")
    if control is not None and control.casefold() in columns:
        return control.casefold()
    if LABEL in columns and control is None:
        return LABEL
    asked = [name for name in columns if name not in _STUDIO_COLUMNS] if "annotation_id" in columns else []
    if len(asked) == 1 and control is None:
        return asked[0]
    if asked:
        raise InputError(f"{where}: which column holds the label: {', '.join(asked)}? Name it with --control")
    raise InputError(f"{where}: column(s) {control or LABEL} missing; keep the header as it was handed out")


def said_in(
    rows: Iterable[tuple[str, Mapping[str, Any]]], label: str, known: Callable[[str], object]
) -> Iterator[Said]:
    """One entry a row; ``rows``: a reference and the cells by column in small letters. A blank row is nothing.

    The sample is the first of its columns that ``known`` knows, else the first that says anything.
    """
    for reference, row in rows:
        named = [str(row[name]).strip() for name in SAMPLE_COLUMNS if row.get(name) not in (None, "")]
        labels = labels_in(row.get(label))
        if not named and not labels:
            continue
        sample = next((name for name in named if known(name)), named[0] if named else "")
        when = row.get("updated_at") or row.get("created_at")
        yield Said(
            sample=sample,
            labels=labels,
            who=_who(row.get("annotator")),
            by_person=not _untouched(row),
            created_at=str(when) if when else None,
            reference=f"annotation {row['annotation_id']}"
            if row.get("annotation_id") not in (None, "")
            else reference,
            trouble=None if named else "names no sample",
        )


def _untouched(row: Mapping[str, Any]) -> bool:
    """Whether the row may be a first answer: Label Studio's table says that it took nobody any time, as one made from a
    prediction by the data manager did, or names nobody; or it has a model and its score and nobody's name."""
    if "lead_time" in row and row["lead_time"] in (None, "", 0):
        return True
    marks = ("annotation_id", "model", "score")
    return not _who(row.get("annotator")) and any(row.get(name) not in (None, "") for name in marks)


def _who(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple(str(value[key]) for key in ("email", "id") if value.get(key))
    return () if value is None or value != value or not str(value).strip() else (str(value),)
