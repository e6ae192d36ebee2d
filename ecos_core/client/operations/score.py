"""Centroid coverage (Hong et al., NeurIPS 2022): how many private records have centroid r as their
nearest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ecos_core.client.operations.histogram import Integers, noised_histogram, privacy_event
from ecos_core.client.operations.nearest import nearest_centroids
from ecos_core.client.operations.task import Context, Task, only_array
from ecos_core.client.protocol import Arrays, Floats, Request, ScoreParameters, canonical_points, parse


def prepare(context: Context, header: dict[str, Any], arrays: Arrays) -> Task:
    """Hold a score request against the policy. Raises InputError, PolicyError."""
    asked = parse(ScoreParameters, header, "score request")
    centroids = only_array(arrays, "centroids", "<f4")
    context.policy.check_mechanism(asked.sigma, asked.adjacency)
    held = context.features(asked.fingerprint, centroids)
    context.policy.check_clusters(len(centroids))
    points = canonical_points(centroids)
    units = held.units if asked.adjacency == "unit" else None

    def answer() -> Arrays:
        def votes() -> Integers:
            return coverage_votes(held.features, points)

        return {"counts": noised_histogram(votes, len(points), asked.sigma, gamma=asked.gamma, units=units)}

    event = privacy_event(asked.sigma, asked.adjacency, asked.gamma)
    return Task(Request(asked, {"centroids": points}), [event], answer)


def coverage_votes(features: Floats, centroids: Floats) -> Integers:
    """The nearest centroid of each record, int64 [n]. Private."""
    return np.concatenate([np.empty(0, np.int64), *nearest_centroids(features, centroids)])
