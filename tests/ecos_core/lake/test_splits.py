import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.lake.splits import split_domain, split_files

ROWS = [(hashlib.sha256(bytes([index])).hexdigest(), "abc"[index % 3]) for index in range(150)]


@given(st.permutations(range(150)), st.integers(0, 5))
def test_parts_are_disjoint_whole_stratified_and_blind_to_order(order, seed):
    parts = split_domain([ROWS[index] for index in order], seed=seed)
    assert parts == split_domain(ROWS, seed=seed)
    assert sorted(parts.client + parts.test + parts.lake) == sorted(key for key, _ in ROWS)
    labels = dict(ROWS)
    assert Counter(labels[key] for key in parts.client) == {"a": 20, "b": 20, "c": 20}
    assert Counter(labels[key] for key in parts.test) == {"a": 10, "b": 10, "c": 10}


def test_another_seed_is_another_split_and_a_new_image_moves_few():
    first, second = split_domain(ROWS, seed=1), split_domain(ROWS, seed=2)
    assert set(first.client) != set(second.client)
    grown = split_domain([*ROWS, ("f" * 64, "a")], seed=1)
    assert len(set(first.client) ^ set(grown.client)) <= 2


@pytest.mark.parametrize("fractions", [(0.7, 0.4), (-0.1, 0.2), (0.2, 1.1)])
def test_impossible_fractions(fractions):
    with pytest.raises(InputError, match="fractions"):
        split_domain(ROWS, *fractions)


def test_files_of_equal_content_stay_together(tmp_path):
    for index in range(40):
        for copy in ("x", "y"):
            path = tmp_path / f"c{index % 2}" / f"{index}{copy}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes([index]))
    parts = split_files(tmp_path)
    assert [len(part) for part in (parts.client, parts.test, parts.lake)] == [32, 16, 32]
    contents = [{path.read_bytes() for path in part} for part in (parts.client, parts.test, parts.lake)]
    assert not contents[0] & contents[1] and not contents[1] & contents[2] and not contents[0] & contents[2]
    with pytest.raises(InputError, match="no class/file tree"):
        split_files(tmp_path / "nowhere")
