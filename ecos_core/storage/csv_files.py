"""One reader of every CSV that a person gives, as spreadsheets, R, pandas and databases write them.

The separator is seen in the first lines: a comma, a semicolon, a tab or a bar; Excel's ``sep=;`` is obeyed.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

from ecos_core.errors import InputError
from ecos_core.names import tidy
from ecos_core.storage.locations import Location
from ecos_core.storage.text import open_text

SEPARATORS = (",", ";", "\t", "|")
_LOOKED_AT = 20  # lines


@contextmanager
def open_csv(place: str | os.PathLike[str] | Location) -> Iterator[csv.DictReader[str]]:
    """The rows of a table with a header line, as dicts by tidy column name; a missing cell is ``""``.

    A row with more cells than the header has them under the key None. Raises InputError, also while it is read,
    when it is no table, in an unknown encoding, or absent.
    """
    location = Location.of(place)
    try:
        with open_text(location) as stream:
            first = list(islice(stream, _LOOKED_AT))
            while first and not first[0].strip():
                first.pop(0)
            separator = separator_of(first)
            if first and _stated(first[0]):
                first.pop(0)
            reader = csv.DictReader(chain(first, stream), delimiter=separator, restval="", strict=False)
            reader.fieldnames = [tidy(name) for name in reader.fieldnames or []]
            yield reader
    except csv.Error as error:
        raise InputError(f"{location}: not a CSV file ({error}); save it again as CSV in UTF-8") from error
    except FileNotFoundError as error:
        raise InputError(f"{location}: no such file; give a CSV with a header line") from error
    except IsADirectoryError as error:
        raise InputError(f"{location}: a folder; give a CSV with a header line") from error


def separator_of(lines: Sequence[str]) -> str:
    """The separator of a table's first lines: what ``sep=`` says, or what cuts them into most equal rows."""
    if lines and (stated := _stated(lines[0])):
        return stated
    return max(SEPARATORS, key=lambda mark: _agreement(lines, mark))


def _stated(line: str) -> str | None:
    """Excel's first line ``sep=;``."""
    text = line.strip("\ufeff\r\n").strip('"')
    return text[4:] if text.lower().startswith("sep=") and len(text) == 5 else None


def _agreement(lines: Sequence[str], mark: str) -> tuple[bool, float]:
    """How well a separator fits: whether it cuts the header, then the share of rows cut into as many cells."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=mark) if row]
    except csv.Error:
        return False, 0.0
    if not rows or len(rows[0]) < 2:
        return False, 0.0
    return True, sum(len(row) == len(rows[0]) for row in rows) / len(rows)
