import io

import numpy as np
from PIL import Image

from ecos_core.features.preprocessing import Preprocessing, prepare

SPEC = Preprocessing(image_size=32, mean=(0, 0, 0), std=(1, 1, 1))


def encode(image: Image.Image, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def test_the_centre_square_is_cut_and_scaled() -> None:
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255
    pixels = prepare(encode(Image.fromarray(wide)), SPEC)
    assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
    assert (pixels[:, 1:-1] == 255).all() and pixels.min() > 200


def test_an_image_of_the_right_size_is_untouched() -> None:
    exact = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(prepare(encode(Image.fromarray(exact)), SPEC), exact)


def test_small_grey_images_are_scaled_up_to_rgb() -> None:
    pixels = prepare(encode(Image.new("L", (9, 17), 77)), SPEC)
    assert pixels.shape == (32, 32, 3)
    assert (pixels == 77).all()


def test_a_large_jpeg_is_close_to_a_careful_resize() -> None:
    y, x = np.mgrid[0:500, 0:400]
    smooth = np.stack([x / 400 * 255, y / 500 * 255, (x + y) / 900 * 255], axis=2).astype(np.uint8)
    pixels = prepare(encode(Image.fromarray(smooth), "JPEG"), SPEC)
    expected = Image.fromarray(smooth[50:450]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(pixels.astype(int) - np.asarray(expected).astype(int)).max() <= 6
