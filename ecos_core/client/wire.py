"""One framed message: a JSON header and raw little-endian arrays behind it.

Layout: 8 bytes of magic, 4 bytes of header length (unsigned, little-endian), the header, then the arrays in
the order that the header's ``arrays`` lists them, with nothing between or after. Nothing is ever executed or
unpickled, and every length is checked against the bytes that are there before an array is made.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.storage import canonical_json

MAGIC = b"ECOS\x00\x01\r\n"
MEDIA_TYPE = "application/octet-stream"
HEADER_LIMIT = 65_536
ARRAYS_LIMIT = 4
_LENGTH = struct.Struct("<I")
_DTYPES: dict[str, np.dtype[Any]] = {
    "<f4": np.dtype("<f4"),
    "<i8": np.dtype("<i8"),
    "<u4": np.dtype("<u4"),
    "|u1": np.dtype("|u1"),
}


def encode(header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Frame a header and its arrays. Equal values give equal bytes."""
    listed, blobs = [], []
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<").str
        if dtype not in _DTYPES:
            raise InputError(
                f"array '{name}': type {array.dtype} cannot be sent, use one of {sorted(_DTYPES)}"
            )
        listed.append({"name": name, "dtype": dtype, "shape": list(array.shape)})
        blobs.append(np.ascontiguousarray(array, dtype=_DTYPES[dtype]).tobytes())
    head = canonical_json({**header, "arrays": listed})
    return b"".join([MAGIC, _LENGTH.pack(len(head)), head, *blobs])


def decode(message: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Take a frame apart; the arrays are read-only views of ``message``.

    Raises InputError for anything but one exact frame.
    """
    start = len(MAGIC) + _LENGTH.size
    if len(message) < start or message[: len(MAGIC)] != MAGIC:
        raise InputError("message: not an ECOS frame of version 1; send what the protocol's encoder makes")
    (length,) = _LENGTH.unpack_from(message, len(MAGIC))
    if length > HEADER_LIMIT or start + length > len(message):
        raise InputError("message: its header is longer than allowed or cut off; send it again whole")
    header = _header(message[start : start + length])
    listed = header.pop("arrays", None)
    if not isinstance(listed, list) or len(listed) > ARRAYS_LIMIT:
        raise InputError(f"message: 'arrays' must be a list of at most {ARRAYS_LIMIT} entries")
    arrays: dict[str, npt.NDArray[Any]] = {}
    position = start + length
    for entry in listed:
        name, dtype, shape = _array_entry(entry)
        count = math.prod(shape)
        if name in arrays or count * dtype.itemsize > len(message) - position:
            raise InputError("message: an array is listed twice or cut off; send the message again whole")
        arrays[name] = np.frombuffer(message, dtype=dtype, count=count, offset=position).reshape(shape)
        position += count * dtype.itemsize
    if position != len(message):
        raise InputError("message: there are bytes behind the last array; send exactly one frame")
    return header, arrays


def strict_json(data: bytes | str, what: str) -> Any:
    """Parse JSON without NaN, infinity, repeated keys or absurd nesting. Raises InputError."""
    try:
        return json.loads(data, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what}: not valid JSON (no NaN, no repeated key, UTF-8)") from error


def _header(data: bytes) -> dict[str, Any]:
    header = strict_json(data, "message header")
    if not isinstance(header, dict):
        raise InputError("message header: a JSON object is needed")
    return header


def _array_entry(entry: Any) -> tuple[str, np.dtype[Any], list[int]]:
    if not isinstance(entry, dict) or set(entry) != {"name", "dtype", "shape"}:
        raise InputError("message: each array needs exactly 'name', 'dtype' and 'shape'")
    name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
    if not isinstance(name, str) or not isinstance(dtype, str) or dtype not in _DTYPES:
        raise InputError(f"message: an array's type must be one of {sorted(_DTYPES)}")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 3
        or not all(type(size) is int for size in shape)
    ):
        raise InputError("message: an array's shape must be one to three whole numbers")
    if not all(0 <= size < 2**31 for size in shape):
        raise InputError("message: an array's size is out of range")
    return name, _DTYPES[dtype], shape


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated key")
    return found
