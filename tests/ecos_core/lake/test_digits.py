import hashlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ecos_core.lake.digits import blend, build_digits
from ecos_core.lake.synthetic_digits import draw_digit, fonts_with_digits


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, build_digits(folder)


def test_four_domains_of_ten_classes(built):
    folder, counts = built
    assert counts == {"mnist": 3000, "mnist_m": 2000, "optdigits": 1797, "synth_digits": 2200}
    for domain, count in counts.items():
        per_class = Counter(path.parent.name for path in (folder / domain).glob("*/*.png"))
        assert sorted(per_class) == list("0123456789") and sum(per_class.values()) == count
        assert min(per_class.values()) >= 0.08 * count


def test_no_digit_is_in_mnist_and_in_mnist_m(built):
    """Undo the blend where the ground is dark: the digit's shape would show; compare sources instead."""
    from ecos_core.lake import digits

    pixels, _ = digits._mnist()
    order = digits._rng(0, "mnist").permutation(len(pixels))
    plain = {pixels[index].tobytes() for index in order[digits.MNIST_M_IMAGES :]}
    for_m = {pixels[index].tobytes() for index in order[: digits.MNIST_M_IMAGES]}
    assert not plain & for_m
    folder, _ = built
    written = {np.asarray(Image.open(path)).tobytes() for path in (folder / "mnist").rglob("*.png")}
    assert written == plain


def test_the_blend_is_an_absolute_difference():
    digit = np.array([[0, 255]], np.uint8)
    patch = np.array([[[10, 20, 30], [10, 20, 30]]], np.uint8)
    assert blend(digit, patch).tolist() == [[[10, 20, 30], [245, 235, 225]]]


def test_the_same_seed_draws_the_same_digit():
    fonts = fonts_with_digits()
    assert len(fonts) >= 60
    draws = [
        hashlib.sha256(draw_digit(3, fonts, np.random.default_rng(s)).tobytes()).digest() for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]
