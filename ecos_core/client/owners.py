"""Whose each file or row is, and its label: tables that the owner gives, held against what there is, without a gap.

Every mistake is an error that names the row of the table (the first below the header is 1), never what is in it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ecos_core.errors import InputError
from ecos_core.names import class_name, tidy
from ecos_core.storage.csv_files import open_csv


class Said(NamedTuple):
    """A value, and the row that says it."""

    value: str
    row: int


def units_of(names: Sequence[str], table: Path, by: str) -> list[str]:
    """The unit of each name, in their form to compare: NFC, no white space around, one space inside.

    ``table``: a CSV with the columns ``by`` (``file``; or ``row``, from 0) and ``unit``. Raises InputError for a row
    without unit, one that names what is not there or says another unit than an earlier one, and a name without a row.
    """
    said = _column(table, by, "unit")
    for unit, row in said.values():
        if not unit:
            raise InputError(f"{table}: row {row} has no unit; every {by} needs one")
    return [value for value in _matched(names, said, table, by, needed="unit") if value is not None]


def labels_of(names: Sequence[str], table: Path, by: str) -> list[str | None]:
    """The label of each name, or None where the table says nothing. Columns ``by`` and ``label``; InputError as above,
    but for what has no label."""
    found = _matched(names, _column(table, by, "label"), table, by, needed=None)
    return [class_name(value) for value in found]


def _column(table: Path, by: str, column: str) -> dict[str, Said]:
    found: dict[str, Said] = {}
    with open_csv(table) as reader:
        if not {by, column} <= set(reader.fieldnames or []):
            raise InputError(f"{table}: a CSV with the columns '{by}' and '{column}' is needed")
        for row, cells in enumerate(reader, start=1):
            if None in cells:
                raise InputError(f"{table}: row {row} has more cells than the header")
            name, value = _form(cells[by], by), tidy(cells[column])
            if not name:
                raise InputError(f"{table}: row {row} names no {by}")
            earlier = found.setdefault(name, Said(value, row))
            if earlier.value != value:
                raise InputError(
                    f"{table}: row {row} says another {column} than row {earlier.row} of the same {by}"
                )
    return found


def _matched(
    names: Sequence[str], said: dict[str, Said], table: Path, by: str, *, needed: str | None
) -> list[str | None]:
    """What is said of each name."""
    forms = [_form(name, by) for name in names]
    if unknown := sorted(said[name].row for name in said.keys() - set(forms)):
        raise InputError(
            f"{table}: row {unknown[0]} names a {by} that is not there ({len(unknown)} such rows)"
        )
    missing = [number for number, name in enumerate(forms) if name not in said]
    if needed and missing:
        place = f"row {missing[0]}" if by == "row" else f"number {missing[0] + 1} in the order of their names"
        raise InputError(
            f"{table}: says nothing about {len(missing)} of {len(names)} {by}s (the first is {place}); "
            f"every {by} needs its {needed}"
        )
    return [said[name].value if name in said else None for name in forms]


def _form(name: str, by: str) -> str:
    text = unicodedata.normalize("NFC", name.strip())
    return str(int(text)) if by == "row" and text.isdecimal() else text
