from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ecos_core.client import wire
from ecos_core.errors import InputError

HEADERS = st.dictionaries(
    st.text(max_size=10).filter(lambda name: name != "arrays"),
    st.integers() | st.text(max_size=20),
    max_size=5,
)
ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype("<f4"), np.dtype("<i8"), np.dtype("<u4"), np.dtype("|u1")]),
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6),
)


@given(HEADERS, st.dictionaries(st.text(max_size=8), ARRAYS, max_size=3))
def test_what_is_framed_comes_back(header: dict, arrays: dict) -> None:
    found_header, found = wire.decode(wire.encode(header, arrays))
    assert found_header == header
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_politely(junk: bytes) -> None:
    for message in (junk, wire.MAGIC + junk):
        with pytest.raises(InputError):
            wire.decode(message)


FRAME = wire.encode({"operation": "score"}, {"centroids": np.ones((4, 3), np.float32)})


@given(st.integers(0, len(FRAME) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_a_frame_or_a_refusal(position: int, value: int) -> None:
    changed = bytearray(FRAME)
    changed[position] = value
    try:
        _, arrays = wire.decode(bytes(changed))
    except InputError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(FRAME)


@given(st.integers(0, len(FRAME) - 1))
def test_a_truncated_frame_is_refused(length: int) -> None:
    with pytest.raises(InputError):
        wire.decode(FRAME[:length])


@pytest.mark.parametrize(
    "header",
    [
        b'{"arrays":[]',
        b'{"arrays":[],"a":NaN}',
        b'{"arrays":[],"a":1,"a":2}',
        b"[" * 60_000,
        b'{"arrays":[{"name":"x","dtype":"<f4","shape":[1000000,1000000]}]}',
        b'{"arrays":[{"name":"x","dtype":"<f4","shape":[-1]}]}',
        b'{"arrays":[{"name":"x","dtype":"|O","shape":[1]}]}',
        b'{"arrays":[{"name":"x","dtype":"<f4","shape":[true]}]}',
        b'{"arrays":[{"name":"x","dtype":["<f4"],"shape":[0]}]}',
        b'{"arrays":{"x":1}}',
        b"\xff\xfe",
    ],
)
def test_a_bad_header_is_refused(header: bytes) -> None:
    with pytest.raises(InputError):
        wire.decode(wire.MAGIC + len(header).to_bytes(4, "little") + header)


def test_other_types_cannot_be_sent() -> None:
    with pytest.raises(InputError, match="cannot be sent"):
        wire.encode({}, {"x": np.ones(2)})


def test_a_request_is_at_most_a_twentieth_larger_than_its_numbers() -> None:
    from ecos_core.client.operations.score import score_request

    centroids = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
    request = score_request(centroids, sigma=6.123456789012345, fingerprint="f" * 64).encode()
    assert len(request) <= 1.05 * centroids.nbytes
