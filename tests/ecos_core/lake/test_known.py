import hashlib

import numpy as np
import pytest

from ecos_core.lake import known
from ecos_core.lake.known import KnownDigests


@pytest.mark.parametrize("merge_at", [3, 1_000])
def test_it_is_a_set(monkeypatch, merge_at):
    monkeypatch.setattr(known, "_MERGE_AT", merge_at)
    digests = [hashlib.sha256(str(index).encode()).digest() for index in range(200)]
    seen = KnownDigests()
    assert all(seen.add(digest) for digest in digests[:100])
    assert not any(seen.add(digest) for digest in digests[:100])
    assert len(seen) == 100
    assert [digest in seen for digest in digests] == [True] * 100 + [False] * 100


def test_equal_first_halves_are_told_apart(monkeypatch):
    monkeypatch.setattr(known, "_MERGE_AT", 1)
    seen = KnownDigests()
    assert seen.add(bytes(8) + b"a" * 24) and seen.add(bytes(8) + b"b" * 24)
    assert bytes(8) + b"c" * 24 not in seen


def test_many_at_once_are_answered_as_one_by_one():
    rng = np.random.default_rng(4)
    digests = rng.integers(0, 256, (5_000, 32), dtype=np.uint8)
    digests[100:200, :8] = digests[0, :8]  # one first half, many seconds
    known = KnownDigests()
    known.update(bytes(row) for row in digests[::2])
    asked = np.concatenate(
        [digests, rng.integers(0, 256, (100, 32), dtype=np.uint8), np.full((1, 32), 255, np.uint8)]
    )
    assert known.contains(asked).tolist() == [bytes(row) in known for row in asked]
    assert known.contains(asked)[:5_000:2].all() and not known.contains(asked)[1:5_000:2].any()
    assert not KnownDigests().contains(asked).any() and known.contains(asked[:0]).shape == (0,)
