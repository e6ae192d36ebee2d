"""The 64-bit perceptual hash of a picture (pHash): near-duplicates differ in a few bits.

Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010: grey, 32 x 32, discrete
cosine transform, the 8 x 8 lowest frequencies compared with their median.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 32
_KEPT = 8


def perceptual_hash(image: Image.Image) -> int:
    """The hash, 0 <= hash < 2**64, of an RGB picture."""
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    pixels = np.asarray(small, dtype=np.float64)
    basis = _cosines()
    low = (basis @ pixels @ basis.T).ravel()
    # Rounding keeps flat pictures, whose coefficients are numerical dust, on one hash.
    low = np.round(low, 6)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@cache
def _cosines() -> NDArray[np.float64]:
    """The first 8 rows of the orthonormal DCT-II matrix of order 32."""
    frequency = np.arange(_KEPT)[:, None]
    place = np.arange(_SIDE)[None, :]
    basis = np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * place + 1) * frequency / (2 * _SIDE))
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)
