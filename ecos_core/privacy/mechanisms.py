"""The only noise of a release: the discrete Gaussian on the integers, exact, from the operating system's
randomness.

Floating-point Gaussians leak through their low bits (Mironov, CCS 2012; Jin et al., 2112.05307). There is no
seed, by design: deterministic noise lives under tests/ only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.privacy.events import MAX_SIGMA, MIN_SIGMA
from ecos_core.privacy.exact_sampler import draw_discrete_gaussian

MAX_DRAWS = 10_000_000


def discrete_gaussian_noise(count: int, sigma: float) -> NDArray[np.int64]:
    """``count`` independent draws, int64, of the discrete Gaussian with parameter ``sigma``.

    ``sigma`` is taken as the exact rational value of the double, the one that is accounted.

    Raises InputError when count is not in 0..10^7 or sigma not in 0.05..10^5.
    """
    if not 0 <= count <= MAX_DRAWS:
        raise InputError(f"number of draws must be between 0 and {MAX_DRAWS:,}, got {count}")
    if not math.isfinite(sigma) or not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise InputError(f"sigma must be between {MIN_SIGMA:g} and {MAX_SIGMA:g}, got {sigma}")
    return np.array(draw_discrete_gaussian(count, float(sigma)), dtype=np.int64)
