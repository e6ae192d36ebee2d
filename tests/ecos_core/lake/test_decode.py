import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ecos_core.lake import decode
from ecos_core.lake.decode import REASONS, BadImage, decode_image, decode_rgb
from tests.ecos_core.lake.zoo import CASES, RED, encode, noisy, plain


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


def test_large_metadata_does_not_cost_the_picture():
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_text("a", "x" * (3 << 20), zip=True)
    texts.add_itxt("b", "y" * (3 << 20), zip=True)
    data = encode(plain(), "PNG", pnginfo=texts, icc_profile=b"\0" * (2 << 20))
    assert decode_rgb(data)[0, 0].tolist() == list(RED)


def test_of_a_broken_exif_block_only_the_orientation_counts():
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "tool"
    data = encode(plain(), "JPEG", exif=exif)
    assert decode_rgb(data).shape == (24, 16, 3)
    # The resolution stored as a text: Pillow cannot write such a block again.
    exif[0x010E] = "72"
    data = encode(plain(), "JPEG", exif=exif)
    broken = data.replace(b"\x0e\x01\x02\x00", b"\x1a\x01\x02\x00").replace(
        b"\x01\x0e\x00\x02", b"\x01\x1a\x00\x02"
    )
    assert broken != data
    assert decode_rgb(broken).shape == (24, 16, 3)


def test_sixteen_bits_white_is_zero_and_twelve_bits_are_seen_right():
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    dark = np.full((16, 24), 0x1000, np.uint16)
    dark[0, 0] = 0xFF00
    data = bytearray(encode(Image.fromarray(dark), "TIFF"))
    place = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00") + 8
    data[place] = 0
    assert decode_rgb(bytes(data))[0, 0].tolist() == [0, 0, 0]
    assert decode_rgb(bytes(data))[5, 5].tolist() == [0xEF] * 3
    scan = np.full((16, 24), 0x0800, np.uint16)
    assert decode_rgb(encode(Image.fromarray(scan), "PNG"))[5, 5].tolist() == [0x80] * 3
