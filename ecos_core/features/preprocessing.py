"""From a sample's bytes to what a backbone sees; the same code in the cloud and at the data owner.

Here what all kinds of samples share, and the image's: the shorter side is scaled to ``image_size`` and the
centre square is cut out. Normalisation (mean, standard deviation) happens inside the network, so that pixels
travel as uint8, a quarter of float32.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ecos_core.errors import InputError
from ecos_core.lake.decode import decode_image
from ecos_core.lake.modality import IMAGE, Modality

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

    ``mean`` and ``std`` are per RGB channel on the scale 0..255.
    """

    model_config = ConfigDict(frozen=True)
    modality: ClassVar[Modality] = IMAGE

    image_size: int = Field(128, ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)
    crop: Literal["centre"] = "centre"
    resampling: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def describe(self) -> dict[str, Any]:
        """Everything that the fingerprint depends on, as JSON."""
        return self.model_dump(mode="json")

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
    from PIL import Image

    side = preprocessing.image_size
    image = decode_image(data, size=side).image
    width, height = image.size
    if (width, height) != (side, side):
        square = min(width, height)
        left, top = (width - square) / 2, (height - square) / 2
        box = (left, top, left + square, top + square)
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image, dtype=np.uint8)
