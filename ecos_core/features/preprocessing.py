"""From image bytes to the pixels that a backbone sees; the same code in the cloud and at the data owner.

The shorter side is scaled to ``image_size`` and the centre square is cut out. Normalisation (mean, standard
deviation) happens inside the network, so that pixels travel as uint8, a quarter of float32.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ecos_core.lake.decode import decode_image

MIN_IMAGE_SIZE = 32
MAX_IMAGE_SIZE = 1024


class Preprocessing(BaseModel):
    """What is done to an image before the backbone; a part of the fingerprint.

    ``mean`` and ``std`` are per RGB channel on the scale 0..255.
    """

    model_config = ConfigDict(frozen=True)

    image_size: int = Field(128, ge=MIN_IMAGE_SIZE, le=MAX_IMAGE_SIZE)
    crop: Literal["centre"] = "centre"
    resampling: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


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
