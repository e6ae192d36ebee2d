import hashlib

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
