"""From a sample's bytes to what a backbone sees; the same code in the cloud and at the data owner.

Here what all kinds of samples share, and the image's. Normalisation (mean, standard deviation) happens inside the
network, so that pixels travel as uint8, a quarter of float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ecos_core.errors import InputError
from ecos_core.lake.decode import decode_image
from ecos_core.lake.modality import IMAGE, Modality

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_IMAGE_SIZE = 32
MAX_IMAGE_SIZE = 1024


class Preprocessor(Protocol):
    """What an extractor does to a sample before its network; ``describe`` is a part of the fingerprint."""

    modality: ClassVar[Modality]

    def describe(self) -> dict[str, Any]:
        """All that changes the outcome, as JSON."""
        ...

    def prepare(self, data: bytes) -> NDArray[Any]:
        """One sample as an array whose shape is the same for all. Raises ``lake.decode.BadSample``."""
        ...

    def example(self) -> NDArray[Any]:
        """A prepared sample, to try a network on."""
        ...

    def files(self) -> dict[str, bytes]:
        """What must lie beside ``extractor.json``, by file name."""
        ...


class Preprocessing(BaseModel):
    """What is done to an image before the backbone; a part of the fingerprint.

    ``crop``: ``centre`` cuts the centre square and scales it in one go, of a JPEG decoded at a smaller scale where
    that is enough (several times faster); ``shorter`` scales the shorter side to ``scaled`` px and then cuts whole
    pixels, as torchvision, timm and open_clip do; ``squash`` scales both sides to ``image_size``. ``mean`` and
    ``std`` are per RGB channel on the scale 0..255.
    """

    model_config = ConfigDict(frozen=True)
    modality: ClassVar[Modality] = IMAGE

    image_size: int = Field(128, ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)
    crop: Literal["centre", "shorter", "squash"] = "centre"
    resampling: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    scaled: int | None = Field(None, ge=MIN_IMAGE_SIZE, le=2 * MAX_IMAGE_SIZE)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def describe(self) -> dict[str, Any]:
        """Everything that the fingerprint depends on, as JSON."""
        return self.model_dump(mode="json", exclude_none=True)

    def prepare(self, data: bytes) -> NDArray[np.uint8]:
        """Pixels uint8 [size, size, 3]. Raises ``lake.decode.BadImage``."""
        return prepare(data, self)

    def example(self) -> NDArray[np.uint8]:
        """A black picture."""
        return np.zeros((self.image_size, self.image_size, 3), np.uint8)

    def files(self) -> dict[str, bytes]:
        """What is kept beside the description: name -> bytes."""
        return {}


def at_size(preprocessing: Preprocessor, image_size: int) -> Preprocessing:
    """The same preprocessing for another size. Raises InputError when it is not that of images."""
    if not isinstance(preprocessing, Preprocessing):
        raise InputError(
            f"this works on images, the extractor reads {preprocessing.modality.unit}; use a linear probe"
        )
    return preprocessing.model_copy(update={"image_size": image_size})


def prepare(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Decode, scale and crop one image: uint8 [size, size, 3]. Raises ``lake.decode.BadImage``."""
    side = preprocessing.image_size
    if preprocessing.crop == "centre":
        image = decode_image(data, size=side).image
        square = min(image.size)
        left, top = ((length - square) / 2 for length in image.size)
        image = _scale(image, (side, side), preprocessing, (left, top, left + square, top + square))
    elif preprocessing.crop == "squash":
        image = _scale(decode_image(data).image, (side, side), preprocessing)
    else:
        image = _cut(_scale_shorter(decode_image(data).image, preprocessing), side)
    return np.asarray(image, dtype=np.uint8)


def _scale(
    image: Image,
    size: tuple[int, int],
    preprocessing: Preprocessing,
    box: tuple[float, float, float, float] | None = None,
) -> Image:
    from PIL.Image import Resampling

    if image.size == size:
        return image
    return image.resize(size, Resampling[preprocessing.resampling.upper()], box=box)


def _scale_shorter(image: Image, preprocessing: Preprocessing) -> Image:
    """The shorter side to ``scaled`` px; the longer one rounded down, as torchvision does."""
    shorter = preprocessing.scaled or preprocessing.image_size
    width, height = image.size
    size = (
        (shorter, int(shorter * height / width))
        if width <= height
        else (int(shorter * width / height), shorter)
    )
    return _scale(image, size, preprocessing)


def _cut(image: Image, side: int) -> Image:
    """The centre square of ``side`` px; what an image lacks is black, as torchvision's."""
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))
