"""A table of text with a column to fill in, and a page that shows the images beside the rows' numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned
from ecos_core.labelling.formats.contact_sheet import write_contact_sheet
from ecos_core.labelling.formats.rows import TASK_COLUMNS, label_column, open_table, said_in
from ecos_core.labelling.tasks import Task


def write(out: Outgoing) -> None:
    """A table and a contact sheet for all, and one of each for every annotator."""
    for name, part in out.batches():
        lines = _write_table(out.folder / f"{name}.csv", part)
        write_contact_sheet(out.folder / f"{name}.html", part, lines, out.label_set, out.instructions)


def _write_table(where: Path, tasks: Sequence[Task]) -> list[int]:
    """One row a task with an empty ``label`` to fill in; a task for several annotators has a row for each.

    Returns each task's first line, as a spreadsheet counts them.
    """
    lines: list[int] = []
    number = 1
    with where.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TASK_COLUMNS)
        for task in tasks:
            lines.append(number + 1)
            suggested = ["", ""]
            if (guess := task.preannotation) is not None:
                suggested = [guess.label, "" if guess.score is None else f"{guess.score:.4f}"]
            shared = " ".join(task.annotators)
            known = [task.sample_id, f"images/{task.file_name}", task.why, task.group, shared, *suggested]
            known.append(task.licence or "")
            for annotator in task.annotators or ("",):
                writer.writerow([*known, "", annotator])
                number += 1
    return lines


def read(returned: Returned) -> Iterator[Said]:
    """The rows of a filled-in table, of Label Studio's CSV and TSV exports too."""
    with open_table(returned.where) as rows:
        label = label_column(returned.where, rows.fieldnames or [], returned.control)
        yield from said_in(((f"line {rows.line_num}", row) for row in rows), label, returned.given.sample_of)


CSV = LabelFormat(
    "csv",
    write,
    read,
    """\
Open `tasks.html` in a browser beside `tasks.csv` in a spreadsheet: each image there names its line here. Fill in the
column `label` (and `annotator`, if several people do). Keep the header and `sample_id`; save as CSV in UTF-8.""",
)
