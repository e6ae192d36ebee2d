"""The only noise of a release: the discrete Gaussian on the integers, exact, from the operating system's
randomness.

Floating-point Gaussians leak through their low bits (Mironov, CCS 2012; Jin et al., 2112.05307). OpenDP
samples the discrete Gaussian with rational arithmetic (Canonne, Kamath, Steinke, NeurIPS 2020, algorithm
3) and draws its bits from the operating system; where it is not installed, ``exact_sampler`` runs the same
algorithm in Python. There is no seed, by design: deterministic noise lives under tests/ only.
"""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.privacy.events import MAX_SIGMA, MIN_SIGMA
from ecos_core.privacy.exact_sampler import draw_discrete_gaussian

MAX_DRAWS = 10_000_000


def discrete_gaussian_noise(count: int, sigma: float) -> NDArray[np.int64]:
    """``count`` independent draws, int64, of the discrete Gaussian with parameter ``sigma``.

    ``sigma`` is taken as the exact rational value of the double, the one that is accounted. OpenDP needs
    about 20 microseconds a draw, ``exact_sampler`` about 50.

    Raises InputError when count is not in 0..10^7 or sigma not in 0.05..10^5.
    """
    if not 0 <= count <= MAX_DRAWS:
        raise InputError(f"number of draws must be between 0 and {MAX_DRAWS:,}, got {count}")
    if not math.isfinite(sigma) or not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise InputError(f"sigma must be between {MIN_SIGMA:g} and {MAX_SIGMA:g}, got {sigma}")
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    if _has_opendp():
        return np.asarray(_opendp_gaussian(float(sigma))([0] * count), dtype=np.int64)
    return np.asarray(draw_discrete_gaussian(count, float(sigma)), dtype=np.int64)


@lru_cache(maxsize=1)
def _has_opendp() -> bool:
    return importlib.util.find_spec("opendp") is not None


@lru_cache(maxsize=64)
def _opendp_gaussian(sigma: float) -> Any:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T=float)
    return dp.m.make_gaussian(*space, scale=sigma)
