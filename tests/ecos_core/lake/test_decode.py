import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ecos_core.lake import decode
from ecos_core.lake.decode import REASONS, BadImage, decode_image, decode_rgb
from tests.ecos_core.lake.zoo import CASES, encode, noisy


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reason is None])
def test_the_right_pixels(name):
    case = CASES[name]
    pixels = decode_rgb(case.data)
    assert pixels.dtype == np.uint8 and pixels.shape == (case.size[1], case.size[0], 3)
    assert np.abs(pixels[2, 2].astype(int) - np.array(case.pixel)).max() <= 2


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.reason is not None])
def test_the_right_reason(name):
    with pytest.raises(BadImage) as caught:
        decode_rgb(CASES[name].data)
    assert caught.value.reason == CASES[name].reason
    assert caught.value.reason in REASONS


def test_exif_rotation_turns_the_picture_not_only_its_size():
    pixels = decode_rgb(CASES["turned.jpg"].data)
    assert pixels[12, 1, 1] > 200 > pixels[12, 1, 0], "the lower half, green, is on the left"
    assert pixels[12, 14, 0] > 200 > pixels[12, 14, 1]


@pytest.mark.parametrize(("size", "expected"), [(None, (800, 600)), (600, (800, 600)), (128, (200, 150))])
def test_a_jpeg_is_decoded_smaller_but_never_below_what_is_needed(size, expected):
    image = Image.new("RGB", (800, 600), (9, 200, 30))
    decoded = decode_image(encode(image, "JPEG"), size=size)
    assert decoded.image.size == expected
    assert decode_image(encode(image, "PNG"), size=size).image.size == (800, 600)


def test_a_file_over_the_limit_is_not_opened(monkeypatch):
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 100)
    with pytest.raises(BadImage, match="too_large"):
        decode_rgb(bytes(101))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_flipped_bytes_give_pixels_or_a_verdict(position, value):
    data = bytearray(encode(noisy(), "JPEG"))
    data[position % len(data)] = value
    try:
        assert decode_rgb(bytes(data)).shape[2] == 3
    except BadImage as bad:
        assert bad.reason in REASONS


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_crash(data):
    with pytest.raises(BadImage):
        decode_rgb(data)


def test_the_client_can_decode_without_the_cloud_packages():
    code = "import sys, ecos_core.lake.decode; print({'pyarrow', 'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
