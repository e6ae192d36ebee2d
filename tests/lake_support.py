"""Generated pictures, and an engine that is quick enough to run in every test."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


class ColourEngine:
    """Mean colour of the four quarters of the image: 12 numbers, a network small enough for a test."""

    name = "colour"
    device = "cpu"
    parallel = True
    dimension = 12

    def run(self, pixels: np.ndarray) -> np.ndarray:
        n, side = len(pixels), pixels.shape[1] // 2
        quarters = pixels.reshape(n, 2, side, 2, side, 3).mean(axis=(2, 4), dtype=np.float32)
        return quarters.reshape(n, 12) + 1


def picture(rng: np.random.Generator, colour: tuple[int, int, int] = (128, 128, 128)) -> bytes:
    noise = rng.integers(-40, 41, (40, 40, 3)) + np.array(colour)
    buffer = io.BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """``count`` pictures of four colours as ``folder/<domain>/<class>/<n>.png``."""
    rng = np.random.default_rng(seed)
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]
    for number in range(count):
        kind = number % len(colours)
        where = folder / f"domain{kind % 2}" / f"class{kind}"
        where.mkdir(parents=True, exist_ok=True)
        (where / f"{seed}-{number}.png").write_bytes(picture(rng, colours[kind]))
