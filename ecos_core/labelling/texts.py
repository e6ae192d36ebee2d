"""Texts and tables of text as people's programs save them: UTF-8 with or without a mark, UTF-16, any separator."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from ecos_core.errors import InputError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATORS = ",;\t|"


def read_text(where: Path) -> str:
    """The file as text. Raises InputError for one that is neither UTF-8 nor marked UTF-16: guessing among the many
    other encodings would turn names into other names."""
    data = where.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{where}, line {line}: not UTF-8 text; save the file again as UTF-8") from error
    if "\0" in text:
        raise InputError(f"{where}: holds zero bytes, so it is no text; save the file again as UTF-8 text")
    return text


def read_lines(where: Path) -> list[str]:
    """The lines that are not blank; only line ends end a line, U+2028 and the like do not. Raises as ``read_text``."""
    return [
        line
        for line in read_text(where).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if line.strip()
    ]


def read_table(where: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a table of text, in small letters, and its rows with the numbers of their lines.

    The separator (comma, semicolon, tab or bar) is the one that splits the header into most columns, or what a first
    line ``sep=`` says. Raises InputError for a workbook, or as ``read_text`` does.
    """
    if where.read_bytes()[:4] == b"PK\x03\x04":
        raise InputError(
            f"{where}: a workbook, not a table of text; save it from the spreadsheet as CSV in UTF-8"
        )
    lines = io.StringIO(read_text(where), newline="")
    separator, start = None, lines.tell()
    first = lines.readline()
    if first.casefold().startswith("sep=") and len(first.strip("\r\n")) == len("sep=") + 1:
        separator, start = first.strip("\r\n")[-1], lines.tell()
        first = lines.readline()
    lines.seek(start)
    rows = csv.reader(lines, delimiter=separator or max(_SEPARATORS, key=first.count))
    try:
        columns = [name.strip().casefold() for name in next(rows, [])]
    except csv.Error as error:
        raise InputError(f"{where}: not a table of text ({error})") from error
    return columns, _rows(where, rows, columns)


def _rows(where: Path, rows: Iterator[list[str]], columns: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    number = 1
    while True:
        number += 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise InputError(f"{where}, line {number}: not a table of text ({error})") from error
        if cells is None:
            return
        yield number, dict(zip(columns, cells, strict=False))
