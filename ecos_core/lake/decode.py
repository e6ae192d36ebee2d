"""Untrusted image bytes to 8-bit RGB: the one place where pictures are decoded.

Ingest, feature extraction, training and the client all see the same pixels: EXIF rotation applied, CMYK,
palette and 16-bit converted, transparency laid over white. Anything else raises ``BadImage`` with a reason
that can be counted. Needs Pillow and numpy only, so that the client can use it.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MAX_FILE_BYTES = 256 * 2**20
MAX_PIXELS = 100_000_000
MIN_SIDE = 8
# No format that starts a program (EPS) or that is a document.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "ICO")
# Pillow warns of what is decided here. Set at import: a filter around each call is not safe with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTATION_TAG, _PHOTOMETRIC_TAG = 274, 262
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MEDIA_TYPES = {"MPO": "image/jpeg", "PPM": "image/x-portable-anymap", "TGA": "image/x-tga"}


class BadSample(ValueError):  # noqa: N818 - a verdict on the data, not a fault of the program
    """Bytes that are no usable sample of their kind. ``reason`` can be counted, ``detail`` is for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BadImage(BadSample):
    """Bytes that are no usable image. ``reason`` is one of ``REASONS``."""


REASONS = {
    "empty": "the file has no bytes",
    "not_an_image": "no image format that is read here",
    "corrupt": "the header is an image's, the data is broken or cut short",
    "animated": "more than one frame or page",
    "too_large": f"more than {MAX_FILE_BYTES // 2**20} MiB in the file",
    "too_many_pixels": f"more than {MAX_PIXELS:,} pixels: a decompression bomb, or a map",
    "too_small": f"a side shorter than {MIN_SIDE} px",
    "unsupported_pixels": "floating-point, signed or 32-bit samples, whose range is unknown",
}


@dataclass(frozen=True)
class Decoded:
    """A picture and what its file was. ``image`` is RGB, as displayed."""

    image: Image.Image
    media_type: str

    @property
    def width(self) -> int:
        """In px."""
        return self.image.width

    @property
    def height(self) -> int:
        """In px."""
        return self.image.height


def decode_image(data: bytes, *, size: int | None = None) -> Decoded:
    """Decode ``data`` fully.

    ``size``: the shorter side that the caller needs, in px. A JPEG is then decoded at 1/2, 1/4 or 1/8 scale
    where that still leaves at least ``size`` (DCT scaling, several times faster); other formats ignore it.
    The caller resizes. Raises BadImage.
    """
    if not data:
        raise BadImage("empty", "0 bytes")
    if len(data) > MAX_FILE_BYTES:
        raise BadImage("too_large", f"{len(data):,} bytes")
    try:
        with Image.open(io.BytesIO(_pixels_only(data)), formats=FORMATS) as opened:
            return _decode_opened(opened, size)
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not_an_image", f"starts with {data[:16]!r}") from error
    except Image.DecompressionBombError as error:
        raise BadImage("too_many_pixels", str(error)) from error
    except Exception as error:  # the decoders raise whatever broken bytes make them trip over
        raise BadImage("corrupt", f"{type(error).__name__}: {error}"[:200]) from error


def decode_rgb(data: bytes, *, size: int | None = None) -> NDArray[np.uint8]:
    """``decode_image`` as an array uint8 [height, width, 3]. Raises BadImage."""
    return np.asarray(decode_image(data, size=size).image, dtype=np.uint8)


def _decode_opened(opened: Image.Image, size: int | None) -> Decoded:
    format_name = opened.format or ""
    _check_header(opened, format_name)
    if size is not None and format_name in ("JPEG", "MPO"):
        opened.draft(None, _draft_box(opened.size, size))
    orientation = _orientation(opened)
    opened.load()
    image = to_rgb(_white_is_zero(opened))
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image is opened:  # the file is closed on return
        image = opened.copy()
    media_type = _MEDIA_TYPES.get(format_name) or Image.MIME.get(format_name, "application/octet-stream")
    return Decoded(image, media_type)


def _pixels_only(data: bytes) -> bytes:
    """A PNG without its texts and profile: Pillow refuses the whole picture when one of them unpacks to over 1 MiB."""
    if not data.startswith(_PNG) or not any(kind in data for kind in _PNG_METADATA):
        return data
    kept, start = [_PNG], len(_PNG)
    while start + 8 <= len(data):
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] not in _PNG_METADATA:
            kept.append(data[start:stop])
        start = stop
    return b"".join([*kept, data[start:]])


def _orientation(opened: Image.Image) -> int:
    """EXIF's tag 274, or 1. Whatever else is broken in the block does not matter."""
    try:
        return int(opened.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Pillow raises what broken blocks make it trip over
        return 1


def _white_is_zero(opened: Image.Image) -> Image.Image:
    """A 16-bit TIFF whose tag 262 says that 0 is white, turned to 0 is black; Pillow does so for 8 bits only."""
    tags = getattr(opened, "tag_v2", {})
    if opened.mode.startswith("I;16") and tags.get(_PHOTOMETRIC_TAG) == 0:
        return Image.fromarray((0xFFFF - np.asarray(opened).astype(np.uint32)).astype(np.uint16))
    return opened


def _draft_box(full: tuple[int, int], size: int) -> tuple[int, int]:
    """The smallest box that keeps the aspect ratio and leaves the shorter side at ``size``."""
    scale = size / min(full)
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def _check_header(opened: Image.Image, format_name: str) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise BadImage("too_many_pixels", f"{width} x {height} px")
    if min(width, height) < MIN_SIDE:
        raise BadImage("too_small", f"{width} x {height} px")
    frames = int(getattr(opened, "n_frames", 1))
    # A phone's MPO file holds the picture first and its depth or preview after.
    if frames > 1 and format_name != "MPO":
        raise BadImage("animated", f"{frames} frames ({format_name})")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB: 16 bits keep their high byte (12 bits theirs), transparency is laid over white.

    Raises BadImage.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_integers(image)
    if image.mode == "F":
        raise BadImage("unsupported_pixels", "floating-point samples")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    layer = (image.convert(straight) if straight else image).convert("RGBA")
    canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(canvas, layer).convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    """Modes I;16, I;16B, I;16L and I: 16-bit grey, also where Pillow holds it in 32 bits.

    Scanners store 12 bits in 16: a picture without a value above 4095 is one of 12 bits.
    """
    samples: NDArray[Any] = np.asarray(image)
    most = int(samples.max(initial=0))
    if int(samples.min(initial=0)) < 0:
        raise BadImage("unsupported_pixels", "signed samples")
    if most > 0xFFFF:
        raise BadImage("unsupported_pixels", "32-bit samples")
    shift = 8 if most >= 1 << 12 else 4 if most > 0xFF else 0
    return Image.fromarray((samples.astype(np.uint32) >> shift).astype(np.uint8)).convert("RGB")
