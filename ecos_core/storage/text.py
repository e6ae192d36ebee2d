"""One reader of every text that a person gives: label sets, lists, settings, instructions.

UTF-8 with and without a byte order mark and UTF-16 are read. Anything else is refused in one line that says how to
save it: which of the many 8-bit encodings it is can be guessed, and a guess makes wrong names.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from ecos_core.errors import InputError
from ecos_core.storage.locations import Location

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 4096
_LEAST_NULS = 0.3  # of one half of the bytes: UTF-16 of letters below U+0100 has nearly all of them


def encoding_of(start: bytes) -> str:
    """The codec of a text that starts so, by its mark or its pattern of NULs; UTF-8 where nothing else is seen."""
    for mark, codec in _MARKS:
        if start.startswith(mark):
            return codec
    sample = start[:_SAMPLE_BYTES]
    half = len(sample) // 2
    if half:
        even, odd = sample[0::2].count(0) / half, sample[1::2].count(0) / half
        if odd >= _LEAST_NULS > even:
            return "utf-16-le"
        if even >= _LEAST_NULS > odd:
            return "utf-16-be"
    return "utf-8"


def decode_text(data: bytes, where: object) -> str:
    """``data`` as text, its line ends ``\\n``. Raises InputError, naming ``where``, when it is no UTF-8 or UTF-16."""
    try:
        text = data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        raise InputError(not_text(where, data)) from error
    if "\0" in text:
        raise InputError(f"{where}: no text: it holds NUL bytes; give a text file in UTF-8")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_text(place: str | os.PathLike[str] | Location) -> str:
    """The text in a file, its line ends ``\\n``. Raises InputError when there is none or it is in another encoding."""
    location = Location.of(place)
    try:
        data = location.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{location}: no such file") from error
    except OSError as error:
        raise InputError(
            f"{location}: cannot be read ({error.strerror or error}); give a text file"
        ) from error
    return decode_text(data, location)


def text_lines(text: str) -> list[str]:
    """Its lines. Unlike ``str.splitlines`` only line ends end one: U+2028, NEL and form feeds are part of names."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


@contextmanager
def open_text(place: Location) -> Iterator[TextIO]:
    """A text of any size as a stream, its line ends as they are. Raises InputError, also while it is read."""
    with place.open_input() as file:
        start = file.read(_SAMPLE_BYTES)
        file.seek(0)
        stream = io.TextIOWrapper(file, encoding_of(start), newline="")
        try:
            yield stream
        except UnicodeDecodeError as error:
            raise InputError(not_text(place, error.object)) from error


def not_text(where: object, data: bytes) -> str:
    """Why ``data`` is no text that is read here, and the way out."""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return f"{where}: neither UTF-8 nor UTF-16; save it as UTF-8"
    return (
        f"{where}: not UTF-8, most likely Windows-1252; save it as UTF-8 (in Excel: 'CSV UTF-8'), or run  "
        f"iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
    )
