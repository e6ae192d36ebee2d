"""What a montage shows of a sample: the picture itself, or the first words of a text or a row on a tile."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

from ecos_core.lake.decode import BadSample
from ecos_core.lake.modality import IMAGE, TABLE, modality_of, read_row

SIDE = 240
_COLUMNS, _LINES, _MARGIN = 36, 18, 8
COLUMNS = ("bytes", "media_type")


def picture_of(row: Mapping[str, Any]) -> bytes:
    """An image file's bytes that stand for a lake row with ``COLUMNS``."""
    content: bytes = row["bytes"]
    modality = modality_of(row["media_type"])
    if modality is IMAGE:
        return content
    if modality is TABLE:
        try:
            lines = [f"{name}: {value}" for name, value in read_row(content).items()]
        except BadSample:
            lines = ["not readable"]
    else:
        lines = content.decode("utf-8", "replace").splitlines()
    return _tile([part for line in lines for part in textwrap.wrap(line, _COLUMNS)])


def _tile(lines: list[str]) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (SIDE, SIDE), "white")
    text = "\n".join(lines[:_LINES])
    ImageDraw.Draw(tile).multiline_text((_MARGIN, _MARGIN), text, "black", ImageFont.load_default(11))
    buffer = io.BytesIO()
    tile.save(buffer, "PNG")
    return buffer.getvalue()
