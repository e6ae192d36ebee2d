"""Poisson subsampling with the operating system's randomness."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt


def poisson_mask(count: int, gamma: float) -> npt.NDArray[np.bool_]:
    """bool [count], each True with probability ``gamma``, independently.

    64 random bits a record are compared with floor(gamma 2^64), so the probability is never above ``gamma``
    and at most 2^-53 of it below.
    """
    if gamma >= 1:
        return np.ones(count, np.bool_)
    draws = np.frombuffer(os.urandom(8 * count), np.uint64)
    return draws < np.uint64(int(gamma * 2**64))
