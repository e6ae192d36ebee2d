"""Read a torch checkpoint of plain tensors without torch, and without running anything that is in it.

The data owner's side has no torch. A checkpoint is a pickle; this reader's unpickler knows five names (an
ordered dictionary, one tensor constructor, three storage types) and refuses every other, so a file can hold
numbers only.
Both of torch's layouts are read: the old stream (magic number, then raw storages) and the zip archive.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecos_core.errors import InputError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.float32, "HalfStorage": np.float16, "LongStorage": np.int64}


@dataclass
class _Tensor:
    """A tensor whose storage may be read later: in the old layout the bytes follow the pickle."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _PlainTensors(pickle.Unpickler):
    """An unpickler that can build dictionaries of tensors and nothing else."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise InputError(
            f"the checkpoint holds more than tensors ('{module}.{name}'); save its state_dict() alone"
        )

    def persistent_load(self, pid: Any) -> str:
        _, dtype, key, *_ = pid
        self.storages[str(key)] = dtype
        return str(key)


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``state_dict`` file, by name.

    Raises InputError when the file is absent, is no checkpoint, or holds anything but tensors of float32,
    float16 and int64.
    """
    try:
        tensors, storages = _read_archive(path) if zipfile.is_zipfile(path) else _read_stream(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such weights file") from error
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a torch checkpoint of plain tensors") from error
    return {name: _view(tensor, storages) for name, tensor in tensors.items() if isinstance(tensor, _Tensor)}


def _view(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    flat = storages[tensor.storage][tensor.offset :]
    steps = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)]
    if min((tensor.offset, *tensor.shape, *tensor.strides), default=0) < 0 or sum(steps) >= max(len(flat), 1):
        raise InputError("the checkpoint has a tensor that reaches outside its storage; the file is damaged")
    strides = tuple(stride * flat.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides).copy()


def _read_archive(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        names = {name.split("/", 1)[1]: name for name in archive.namelist() if "/" in name}
        unpickler = _PlainTensors(io.BytesIO(archive.read(names["data.pkl"])))
        tensors = unpickler.load()
        storages: dict[str, np.ndarray] = {
            key: np.frombuffer(archive.read(names[f"data/{key}"]), dtype)
            for key, dtype in unpickler.storages.items()
        }
    return tensors, storages


def _read_stream(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with path.open("rb") as file:
        if _PlainTensors(file).load() != LEGACY_MAGIC:
            raise ValueError("another magic number")
        for _ in ("protocol version", "system information"):
            _PlainTensors(file).load()
        unpickler = _PlainTensors(file)
        tensors = unpickler.load()
        storages: dict[str, np.ndarray] = {}
        for key in _PlainTensors(file).load():
            count = int.from_bytes(file.read(8), "little")
            dtype = np.dtype(unpickler.storages[key])
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return tensors, storages
