"""Coverage scores of which only the sum over several clients is seen: masked, with this client's share of the
noise.

Each of N clients adds discrete Gaussian noise of sigma / sqrt(N). Sums of discrete Gaussians are as good as
discrete Gaussian: for shares of 2 and more and up to 1000 clients they differ by less than 1e-12 (Kairouz,
Liu, Steinke, ICML 2021). What a client is charged assumes only the noise of those it trusts: ``honest_peers``
of all, itself included.

Under ``unit`` votes and noise are in steps of 1 / UNIT_SCALE, and stay so until they are summed: only the sum has
noise enough to be rounded. A cell's sum must stay below 2^31 votes, or steps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ecos_core.client.masks import check_participants, mask, participant
from ecos_core.client.operations.histogram import (
    Integers,
    noised_histogram,
    noised_unit_histogram,
    privacy_event,
)
from ecos_core.client.operations.score import coverage_votes
from ecos_core.client.operations.task import Context, Task, only_array
from ecos_core.client.protocol import AggregateParameters, Arrays, Request, canonical_points, parse
from ecos_core.errors import PolicyError

SMALLEST_SHARE = 2.0


def prepare(context: Context, header: dict[str, Any], arrays: Arrays) -> Task:
    """Hold a request against the policy. Raises InputError, PolicyError."""
    asked = parse(AggregateParameters, header, "aggregate request")
    centroids = only_array(arrays, "centroids", "<f4")
    share, trusted = noise_share(asked.sigma, len(asked.participants), context.policy.honest_peers)
    context.policy.check_mechanism(trusted, asked.adjacency)
    if share < SMALLEST_SHARE:
        raise PolicyError(
            f"sigma {asked.sigma:g}: each client's share, {share:.3g}, must be at least {SMALLEST_SHARE:g}"
        )
    check_participants(asked.participants, participant(context.key), context.policy.peers)
    held = context.features(asked.fingerprint, centroids)
    context.policy.check_clusters(len(centroids))
    request = Request(asked, {"centroids": canonical_points(centroids)})
    points = request.arrays["centroids"]
    hidden = mask(context.key, asked.participants, request.digest, len(points))

    def answer() -> Arrays:
        def votes() -> Integers:
            return coverage_votes(held.features, points)

        if asked.adjacency == "unit":
            counts = noised_unit_histogram(votes, len(points), share, held.units)
        else:
            counts = noised_histogram(votes, len(points), share)
        return {"masked": counts.astype(np.uint32) + hidden}

    return Task(request, [privacy_event(trusted, asked.adjacency, 1.0)], answer)


def noise_share(sigma: float, participants: int, honest: float) -> tuple[float, float]:
    """What one client adds, and what is surely in the sum: sigmas, when ``honest`` of all (self included)
    add theirs.
    """
    share = sigma / math.sqrt(participants)
    return share, share * math.sqrt(max(1, math.floor(honest * participants)))
