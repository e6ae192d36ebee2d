"""Pictures as tensors, and the two augmentations: weak (flip and shift) and strong (RandAugment on top).

All pictures of a training are decoded once and kept as uint8, 48 KB each at 128 px: a selection is small
by design, and FixMatch's unlabelled part has its own limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.features.preprocessing import Preprocessing, prepare
from ecos_core.lake.decode import BadImage

MAX_BYTES = 8 * 2**30
SHIFT_SHARE = 0.125
STRONG_OPERATIONS = 2
STRONG_MAGNITUDE = 10


def decode_all(images: Sequence[bytes], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """uint8 [n, size, size, 3]. Raises InputError when they do not fit in 8 GiB or one cannot be decoded."""
    side = preprocessing.image_size
    needed = len(images) * side * side * 3
    if needed > MAX_BYTES:
        raise InputError(
            f"training: {len(images):,} images of {side} px need {needed / 2**30:.0f} GiB; "
            "use a smaller image size or fewer images"
        )
    pixels = np.empty((len(images), side, side, 3), np.uint8)
    for row, data in enumerate(images):
        try:
            pixels[row] = prepare(data, preprocessing)
        except BadImage as error:
            raise InputError(
                f"training: image {row} cannot be decoded ({error}); ingest the lake again"
            ) from error
    return pixels


class Augmentation:
    """Random views of uint8 batches [n, size, size, 3], from torch's global generator."""

    def __init__(self, side: int) -> None:
        import torch
        from torchvision.transforms import v2

        self._torch = torch
        shift = max(1, round(side * SHIFT_SHARE))
        weak = [v2.RandomHorizontalFlip(), v2.RandomCrop(side, padding=shift, padding_mode="reflect")]
        self._weak = v2.Compose(weak)
        self._strong = v2.Compose([*weak, v2.RandAugment(STRONG_OPERATIONS, STRONG_MAGNITUDE)])

    def weak(self, pixels: NDArray[np.uint8]) -> Any:
        """Flipped with probability 1/2 and shifted by up to an eighth: uint8 tensor, same shape."""
        return self._each(self._weak, pixels)

    def strong(self, pixels: NDArray[np.uint8]) -> Any:
        """The weak view and two random operations of RandAugment (Cubuk et al. 2020)."""
        return self._each(self._strong, pixels)

    def _each(self, transform: Any, pixels: NDArray[np.uint8]) -> Any:
        batch = self._torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        views = self._torch.stack([transform(image) for image in batch])
        return views.permute(0, 2, 3, 1).contiguous()
