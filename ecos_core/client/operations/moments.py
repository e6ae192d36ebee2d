"""Private moments: the noised sum of the records' projected features, an answer that is tied to no clustering.

Each record gives k + 1 integers: its feature less ``mean``, projected on k ``directions``, divided by
``radius`` and shortened to L2 norm at most 1; and a constant 1 that counts the records; all over sqrt(2),
times ``MOMENT_SCALE``, rounded towards zero. So a record's row has L2 norm at most ``MOMENT_SCALE``, which is
the sensitivity under add/remove. Products are sums of whole numbers, exact in float64: a record's row is a
function of that record and the request alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.client.operations.histogram import Integers
from ecos_core.client.operations.nearest import integer_scale, rounded
from ecos_core.client.operations.task import Context, Task
from ecos_core.client.protocol import (
    MOMENT_SCALE,
    Arrays,
    MomentParameters,
    Request,
    canonical_points,
    parse,
)
from ecos_core.errors import InputError, PolicyError
from ecos_core.privacy.events import Adjacency, GaussianEvent
from ecos_core.privacy.mechanisms import discrete_gaussian_noise

FEATURE_LIMIT = 8.0  # of a feature's coordinate less the mean's; larger ones are clipped
_RECORDS_AT_ONCE = 8192
_SHORTER = 1.0 - 1e-12  # than float64's rounding of the norm could lengthen a row


def prepare(context: Context, header: dict[str, Any], arrays: Arrays) -> Task:
    """Hold a request for moments against the policy. Raises InputError, PolicyError."""
    asked = parse(MomentParameters, header, "moments request")
    if set(arrays) != {"directions", "mean"} or {array.dtype.str for array in arrays.values()} != {"<f4"}:
        raise InputError("request: exactly two arrays are needed, 'directions' and 'mean' of type float32")
    if arrays["mean"].ndim != 1:
        raise InputError("request: 'mean' must be one row of numbers")
    directions = canonical_points(arrays["directions"], "directions")
    mean = canonical_points(arrays["mean"][None], "mean")[0]
    if asked.adjacency != "add-remove":
        raise PolicyError(f"moments: not offered under '{asked.adjacency}' adjacency")
    context.policy.check_mechanism(asked.sigma, asked.adjacency)
    held = context.features(asked.fingerprint, directions)
    context.policy.check_clusters(len(directions))
    if len(mean) != directions.shape[1]:
        raise InputError("request: 'directions' [k, d] and 'mean' [d] must have the features' dimensions")
    noise = asked.sigma * MOMENT_SCALE
    event = GaussianEvent(noise, float(MOMENT_SCALE), Adjacency(asked.adjacency))

    def answer() -> Arrays:
        drawn = discrete_gaussian_noise(len(directions) + 1, noise)
        rows = (
            encoded(held.features[start : start + _RECORDS_AT_ONCE], directions, mean, asked.radius)
            for start in range(0, len(held.features), _RECORDS_AT_ONCE)
        )
        return {"sums": drawn + sum(part.sum(axis=0) for part in rows)}

    return Task(Request(asked, {"directions": directions, "mean": mean}), [event], answer)


def encoded(
    features: npt.NDArray[np.floating],
    directions: npt.NDArray[np.floating],
    mean: npt.NDArray[np.floating],
    radius: float,
) -> Integers:
    """What each record adds to the sum: int64 [n, k + 1], rows of L2 norm at most ``MOMENT_SCALE``. Private."""
    scale, limit = integer_scale(directions.astype(np.float64))
    steps = limit / FEATURE_LIMIT
    centred = rounded(features.astype(np.float64) - mean.astype(np.float64), steps, limit)
    inside = (centred @ rounded(directions, scale, limit).T) / (scale * steps * radius)
    norms = np.sqrt((inside * inside).sum(axis=1, keepdims=True))
    points = np.concatenate([inside / np.maximum(norms, 1.0), np.ones((len(inside), 1))], axis=1)
    return np.trunc(points * (_SHORTER * MOMENT_SCALE / math.sqrt(2.0))).astype(np.int64)
