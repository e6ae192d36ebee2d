import numpy as np
from PIL import Image, ImageFilter

from ecos_core.lake.decode import decode_image
from ecos_core.lake.perceptual_hash import perceptual_hash
from tests.ecos_core.lake.zoo import encode


def photo(seed: int) -> Image.Image:
    """Smooth coloured noise, which has low frequencies as photographs do."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


def distance(one: Image.Image, two: Image.Image) -> int:
    return (perceptual_hash(one) ^ perceptual_hash(two)).bit_count()


def test_what_looks_the_same_is_near_and_what_does_not_is_far():
    one = photo(1)
    recoded = decode_image(encode(one, "JPEG", quality=40)).image
    assert distance(one, recoded) <= 4
    assert distance(one, one.resize((97, 73))) <= 4
    assert distance(one, one.filter(ImageFilter.GaussianBlur(1))) <= 4
    others = [distance(one, photo(seed)) for seed in range(2, 30)]
    assert min(others) >= 12 and 26 <= np.mean(others) <= 38


def test_a_flat_picture_has_one_hash_whatever_its_colour():
    hashes = {perceptual_hash(Image.new("RGB", (40, 30), (v, v, v))) for v in (1, 99, 200)}
    assert len(hashes) == 1 and 0 <= hashes.pop() < 2**64
