"""The zoo: odd and broken image files that a lake meets, made small and on the spot.

``CASES`` maps a file name to its bytes, the reason of its quarantine or None, and the pixel in a corner.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

RED = (255, 0, 0)
SIZE = (24, 16)


class Case(NamedTuple):
    data: bytes
    reason: str | None = None
    pixel: tuple[int, int, int] | None = None
    size: tuple[int, int] = SIZE


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def plain(colour: Any = RED, mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new(mode, size, colour)


def noisy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def animation(format: str) -> bytes:
    frames = [plain((index * 60, 0, 0)) for index in range(3)]
    return encode(frames[0], format, save_all=True, append_images=frames[1:])


def rotated() -> bytes:
    """A 24 x 16 JPEG, red above green, that EXIF says to turn by 90 degrees clockwise."""
    image = plain()
    image.paste((0, 255, 0), (0, 8, 24, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image, "JPEG", exif=exif, quality=95, subsampling=0)


def palette_with_alpha() -> bytes:
    image = plain(0, "P")
    image.putpalette([0, 0, 0, 255, 0, 0])
    return encode(image, "PNG", transparency=0)


def png_header(width: int, height: int) -> bytes:
    """A PNG of 1-bit grey that claims a size and holds next to nothing: a decompression bomb."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


CASES: dict[str, Case] = {
    "fine.jpg": Case(encode(plain(), "JPEG", quality=95, subsampling=0), pixel=(254, 0, 0)),
    "fine.png": Case(encode(plain(), "PNG"), pixel=RED),
    "fine.webp": Case(encode(plain(), "WEBP", lossless=True), pixel=RED),
    "one-frame.gif": Case(encode(plain(), "GIF"), pixel=RED),
    "fine.bmp": Case(encode(plain(), "BMP"), pixel=RED),
    "fine.tiff": Case(encode(plain(), "TIFF"), pixel=RED),
    "png-named.jpg": Case(encode(plain((0, 0, 255)), "PNG"), pixel=(0, 0, 255)),
    "no-extension": Case(encode(plain((0, 255, 0)), "PNG"), pixel=(0, 255, 0)),
    "grey.png": Case(encode(plain(77, "L"), "PNG"), pixel=(77, 77, 77)),
    "bilevel.png": Case(encode(plain(1, "1"), "PNG"), pixel=(255, 255, 255)),
    "cmyk.jpg": Case(encode(plain((0, 255, 255, 0), "CMYK"), "JPEG", quality=95), pixel=(254, 0, 0)),
    "sixteen.png": Case(encode(plain(0x8040, "I;16"), "PNG"), pixel=(0x80, 0x80, 0x80)),
    "sixteen.tiff": Case(encode(plain(0x2010, "I;16"), "TIFF"), pixel=(0x20, 0x20, 0x20)),
    "clear.png": Case(encode(plain((0, 0, 0, 0), "RGBA"), "PNG"), pixel=(255, 255, 255)),
    "half.png": Case(encode(plain((0, 0, 0, 128), "RGBA"), "PNG"), pixel=(127, 127, 127)),
    "grey-alpha.png": Case(encode(plain((10, 0), "LA"), "PNG"), pixel=(255, 255, 255)),
    "palette-alpha.png": Case(palette_with_alpha(), pixel=(255, 255, 255)),
    "turned.jpg": Case(rotated(), pixel=(0, 255, 1), size=(16, 24)),
    "ünï-图像 名.png": Case(encode(plain((1, 2, 3)), "PNG"), pixel=(1, 2, 3)),
    "zero.jpg": Case(b"", "empty"),
    "page.jpg": Case(b"<!DOCTYPE html><title>404</title>", "not_an_image"),
    "notes.txt": Case(b"not a picture", "not_an_image"),
    "vector.eps": Case(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
    "cut.jpg": Case(encode(noisy(), "JPEG")[:-700], "corrupt"),
    "cut.png": Case(encode(noisy(), "PNG")[:-500], "corrupt"),
    "header-only.jpg": Case(encode(noisy(), "JPEG")[:30], "corrupt"),
    "moving.gif": Case(animation("GIF"), "animated"),
    "moving.webp": Case(animation("WEBP"), "animated"),
    "moving.png": Case(animation("PNG"), "animated"),
    "pages.tiff": Case(animation("TIFF"), "animated"),
    "bomb.png": Case(png_header(30_000, 30_000), "too_many_pixels"),
    "long.png": Case(encode(plain(1, "1", (30_000, 9)), "PNG"), pixel=(255, 255, 255), size=(30_000, 9)),
    "dot.png": Case(encode(plain(size=(1, 1)), "PNG"), "too_small"),
    "float.tiff": Case(encode(plain(0.5, "F"), "TIFF"), "unsupported_pixels"),
}
