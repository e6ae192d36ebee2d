"""What a sample may be: a picture, a text or a row of a table. How its bytes are verified and described.

All kinds share one store. ``width`` and ``height`` are what a person sees: pixels, the longest line and the
lines of a text, the columns of a row (of height 1). Only pictures have a perceptual hash; the others carry
the start of their digest there, which is near no other's. Needs Pillow and numpy only: the client uses it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ecos_core.lake.decode import BadSample, decode_image
from ecos_core.lake.perceptual_hash import perceptual_hash
from ecos_core.names import number_of
from ecos_core.storage import canonical_json

# Verifies bytes and returns the columns ``media_type, width, height, perceptual_hash``. Raises BadSample.
Examine = Callable[[bytes], dict[str, Any]]

TEXT_TYPE = "text/plain"
ROW_TYPE = "application/json"
MAX_TEXT_BYTES = 2**20
# What stands for "not known" in a cell: nothing, and R's and pandas' words for it.
MISSING = frozenset({"", "NA", "NaN", "nan"})

Cell = float | int | str | None


@dataclass(frozen=True)
class Modality:
    """A kind of sample: its name, what a person calls one, and how its bytes are verified."""

    name: str
    unit: str
    examine: Examine


def examine_image(data: bytes) -> dict[str, Any]:
    """Decode a picture fully. Raises BadImage."""
    decoded = decode_image(data)
    return {
        "media_type": decoded.media_type,
        "width": decoded.width,
        "height": decoded.height,
        "perceptual_hash": perceptual_hash(decoded.image),
    }


def read_text(data: bytes) -> str:
    """A UTF-8 text with something in it, of at most 1 MiB. Raises BadSample."""
    if len(data) > MAX_TEXT_BYTES:
        raise BadSample("too_large", f"{len(data):,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSample("not_a_text", f"no UTF-8 at byte {error.start}") from error
    if "\0" in text:
        raise BadSample("not_a_text", "holds NUL bytes")
    if not text.strip():
        raise BadSample("empty", "no word in it")
    return text


def examine_text(data: bytes) -> dict[str, Any]:
    """Verify a text. Raises BadSample."""
    lines = read_text(data).splitlines()
    return _described(data, TEXT_TYPE, max(map(len, lines)), len(lines))


def row_bytes(cells: Mapping[str, str]) -> bytes:
    """A row of a table as canonical JSON: the same values are the same sample, whatever the order of columns.

    A cell that writes a finite number is one; an empty cell, ``NA``, ``NaN`` or an infinity is null; the rest is text,
    also ``1_2`` and ``007``.
    """
    return canonical_json({name: _cell(text) for name, text in cells.items()})


def read_row(data: bytes) -> dict[str, Cell]:
    """The cells of a row by column. Raises BadSample."""
    try:
        row = json.loads(data)
    except ValueError as error:
        raise BadSample("not_a_row", "no JSON object") from error
    if not isinstance(row, dict) or not row:
        raise BadSample("not_a_row", "no JSON object with columns")
    for name, value in row.items():
        if isinstance(value, bool | list | dict) or (isinstance(value, float) and not math.isfinite(value)):
            raise BadSample("not_a_row", f"column '{name[:40]}' is no number, text or null")
    if all(value is None for value in row.values()):
        raise BadSample("empty", "every cell is missing")
    return row


def examine_row(data: bytes) -> dict[str, Any]:
    """Verify a row. Raises BadSample."""
    return _described(data, ROW_TYPE, len(read_row(data)), 1)


IMAGE = Modality("image", "images", examine_image)
TEXT = Modality("text", "texts", examine_text)
TABLE = Modality("table", "rows", examine_row)
MODALITIES = {modality.name: modality for modality in (IMAGE, TEXT, TABLE)}


def modality_of(media_type: str) -> Modality:
    """What a lake's ``media_type`` says."""
    return {TEXT_TYPE: TEXT, ROW_TYPE: TABLE}.get(media_type, IMAGE)


def _described(data: bytes, media_type: str, width: int, height: int) -> dict[str, Any]:
    start = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return {"media_type": media_type, "width": width, "height": height, "perceptual_hash": start}


def _cell(text: str) -> Cell:
    stripped = text.strip()
    if stripped in MISSING or stripped.lower().lstrip("+-") in ("inf", "infinity"):
        return None
    number = number_of(stripped)
    return stripped if number is None else number
