"""Small pictures of images of the lake: data URIs for the report, a contact sheet for MLflow and Prefect."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecos_core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL_PX = 112
LOSSLESS_UP_TO_PX = 48


def thumbnail_uri(image: bytes, pixels: int = THUMBNAIL_PX) -> str:
    """The image, made to fit ``pixels`` x ``pixels``, as a data URI. Raises InputError if unreadable."""
    content, kind = thumbnail_file(image, pixels)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def thumbnail_file(image: bytes, pixels: int = THUMBNAIL_PX) -> tuple[bytes, str]:
    """The image, made to fit ``pixels`` x ``pixels``, as a file's bytes, and ``png`` or ``jpeg``. Raises InputError if
    unreadable."""
    picture = _thumbnail(image, pixels)
    buffer = io.BytesIO()
    if max(picture.size) <= LOSSLESS_UP_TO_PX:
        picture.save(buffer, "PNG")
        return buffer.getvalue(), "png"
    picture.save(buffer, "JPEG", quality=82)
    return buffer.getvalue(), "jpeg"


def contact_sheet(images: Sequence[bytes | None], *, columns: int = 10, pixels: int = 72) -> bytes:
    """The images row by row on one PNG, None an empty cell. Raises InputError without images, or for a broken one."""
    from PIL import Image

    if not images:
        raise InputError("montage: no images to show")
    columns = min(columns, len(images))
    cell = pixels + 4
    sheet = Image.new("RGB", (columns * cell + 4, -(-len(images) // columns) * cell + 4), "white")
    for place, image in enumerate(images):
        if image is None:
            continue
        picture = _thumbnail(image, pixels)
        left, top = (place % columns) * cell + 4, (place // columns) * cell + 4
        sheet.paste(picture, (left + (pixels - picture.width) // 2, top + (pixels - picture.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _thumbnail(image: bytes, pixels: int) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(image)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"montage: {len(image)} bytes that are no readable image") from error
    picture.thumbnail((pixels, pixels))
    return picture
