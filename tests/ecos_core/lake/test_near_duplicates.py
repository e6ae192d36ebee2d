import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ecos_core.errors import InputError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.near_duplicates import find_leaks, near_duplicates
from ecos_core.lake.near_pairs import Prints, correlation, is_telling, near_pairs
from tests.ecos_core.lake.test_perceptual_hash import photo


@given(st.integers(0, 8), st.integers(0, 2**32), st.integers(2, 60))
def test_pairs_are_those_of_the_direct_comparison(distance, seed, count):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for row in range(count // 2):  # relatives of the first, a few bits away
        flips = rng.choice(64, rng.integers(0, 10), replace=False).astype(np.uint64)
        hashes[row] = hashes[0] ^ np.bitwise_or.reduce(np.uint64(1) << flips, initial=np.uint64(0))
    _, first = np.unique(hashes, return_index=True)
    hashes = hashes[np.sort(first)]
    telling = is_telling(hashes)
    expected = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if telling[i] and telling[j] and (int(hashes[i]) ^ int(hashes[j])).bit_count() <= distance
    }
    found = near_pairs(Prints(hashes, np.ones(len(hashes))), distance)
    assert set(map(tuple, found.tolist())) == expected


def test_many_equal_hashes_stay_cheap_and_connected():
    hashes = np.full(2_000, 0x0F0F0F0F0F0F0F0F, np.uint64)
    pairs = near_pairs(Prints(hashes, np.ones(2_000)), 4)
    assert len(pairs) <= 8 * 2_000 and set(pairs[:, 1].tolist()) == set(range(1, 2_000))


def test_shapes_must_agree():
    hashes = np.full(2, 0x0F0F0F0F0F0F0F0F, np.uint64)
    assert len(near_pairs(Prints(hashes, np.array([1.0, 1.05])), 0)) == 1
    assert len(near_pairs(Prints(hashes, np.array([1.0, 1.5])), 0)) == 0


def test_correlation_of_flat_pictures_is_none():
    flat = np.zeros((32, 32, 3), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert correlation(flat, noise) == 0.0 and correlation(noise, noise) == pytest.approx(1.0)


@pytest.fixture
def lake(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(12):
        photo(seed).save(folder / f"{seed:02}-a.png")
    photo(3).save(folder / "90-copy.jpg", quality=60)
    photo(3).resize((80, 60)).save(folder / "91-small.png")
    photo(7).save(folder / "92-copy.webp", quality=70)
    for value in (10, 20, 30):  # flat: their hashes say nothing
        Image.new("RGB", (160, 120), (value, value, value)).save(folder / f"flat{value}.png")
    lake = Lake.create(tmp_path / "lake")
    ingest(folder, lake)
    return lake


def origin(lake):
    table = lake.read_images(lake.snapshot().shards[0], ["sample_id", "origins"])
    return {row["sample_id"]: row["origins"][0].removeprefix("photos/") for row in table.to_pylist()}


def test_copies_form_groups_named_by_their_first(lake):
    found = near_duplicates(lake)
    names = origin(lake)
    groups = {names[sample]: names[group] for sample, group in found.group_of.items()}
    assert groups == {
        "03-a.png": "03-a.png",
        "90-copy.jpg": "03-a.png",
        "91-small.png": "03-a.png",
        "07-a.png": "07-a.png",
        "92-copy.webp": "07-a.png",
    }
    assert (found.groups, found.superfluous) == (2, 3)
    assert near_duplicates(lake) == found, "the second time it is read from the lake"


def test_a_test_image_in_the_lake_is_reported(lake, tmp_path):
    tests = tmp_path / "test" / "cat"
    tests.mkdir(parents=True)
    photo(5).save(tests / "again.png")
    photo(3).resize((240, 180)).save(tests / "larger.jpg", quality=80)
    photo(99).save(tests / "new.png")
    (tests / "notes.txt").write_text("no image")
    names = origin(lake)
    leaks = find_leaks(lake, tmp_path / "test")
    assert [(leak.test_image, names[leak.sample_id], leak.exact) for leak in leaks if leak.exact] == [
        ("cat/again.png", "05-a.png", True)
    ]
    assert {names[leak.sample_id] for leak in leaks if leak.test_image == "cat/larger.jpg"} == {
        "03-a.png",
        "90-copy.jpg",
        "91-small.png",
    }
    assert not [leak for leak in leaks if leak.test_image == "cat/new.png"]
    with pytest.raises(InputError, match="no such folder"):
        find_leaks(lake, tmp_path / "nowhere")
    with pytest.raises(InputError, match="distance 9"):
        near_duplicates(lake, distance=9)
