"""SynthDigits by recipe: a printed digit, its font, colour, place, angle and sharpness drawn at random.

After Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", ICML 2015, section 4 (Syn
Numbers). The faces come with matplotlib (DejaVu: Bitstream Vera licence; STIX: OFL; Computer Modern: public
domain).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 32
# Faces of matplotlib with ordinary upright or italic figures; the others hold symbols or repeat one of these.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansDisplay",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmtt10",
)
_LEAST_CONTRAST = 90
_SIZES = (20, 22, 24, 26, 28, 30)

Fonts = list[ImageFont.FreeTypeFont]


def fonts_with_digits() -> Fonts:
    """The faces in all sizes, those of them that are installed and draw ten different figures.

    Raises ImportError without matplotlib.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = [folder / f"{name}.ttf" for name in FACES]
    found = [path for path in faces if path.exists() and _draws_digits(path)]
    return [ImageFont.truetype(str(path), size) for path in found for size in _SIZES]


def _draws_digits(path: Path) -> bool:
    font = ImageFont.truetype(str(path), _SIZES[0])
    figures = {bytes(font.getmask(str(digit))) for digit in range(10)}
    return len(figures) == 10 and all(any(figure) for figure in figures)


def draw_digit(digit: int, fonts: Fonts, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture, uint8 [32, 32, 3], of a digit 0..9."""
    font = fonts[rng.integers(len(fonts))]
    ink, ground = _two_colours(rng)
    canvas = Image.new("RGB", (SIDE, SIDE), ground)
    for neighbour, side in ((rng.integers(10), -1), (rng.integers(10), 1)):
        if rng.random() < 0.5:  # a neighbour that is cut off, as in a house number
            _stamp(canvas, str(neighbour), font, ink, 0.0, (side * 22, 0))
    angle = float(rng.uniform(-25, 25))
    shift = (int(rng.integers(-3, 4)), int(rng.integers(-3, 4)))
    _stamp(canvas, str(digit), font, ink, angle, shift)
    blurred = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.2))))
    noise = rng.normal(0, rng.uniform(0, 12), (SIDE, SIDE, 3))
    return np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8)


def _two_colours(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Ink and ground that differ enough to be read."""
    while True:
        ink, ground = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
        if abs(_luma(ink) - _luma(ground)) >= _LEAST_CONTRAST:
            return tuple(map(int, ink)), tuple(map(int, ground))  # type: ignore[return-value]


def _luma(colour: NDArray[np.int64]) -> float:
    return float(colour @ np.array([0.299, 0.587, 0.114]))


def _stamp(
    canvas: Image.Image,
    text: str,
    font: ImageFont.FreeTypeFont,
    ink: tuple[int, int, int],
    angle: float,
    shift: tuple[int, int],
) -> None:
    mask = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(mask).text((SIDE / 2, SIDE / 2), text, fill=255, font=font, anchor="mm")
    mask = mask.rotate(angle, Image.Resampling.BICUBIC)
    moved = Image.new("L", mask.size, 0)
    moved.paste(mask, shift)
    canvas.paste(ink, mask=moved)
