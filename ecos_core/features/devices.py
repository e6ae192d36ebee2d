"""Whether torch can use a GPU here, without the seconds that importing torch costs where it can't."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys

DRIVERS = ("libcuda.so.1", "libamdhip64.so")


@functools.cache
def sees_gpu() -> bool:
    """True when torch is installed and sees a CUDA (or ROCm) device."""
    if importlib.util.find_spec("torch") is None:
        return False
    if sys.platform == "linux" and not any(_loads(driver) for driver in DRIVERS):
        return False
    import torch

    return bool(torch.cuda.is_available())


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
