"""Class labels by cluster: how many private records of class c have centroid r as their nearest.

One release of R x C counts at the sensitivity of a single vote labels any number of public samples
afterwards: every sample of a cluster takes the cluster's noisy majority class.
"""

from __future__ import annotations

from typing import Any

from ecos_core.client.operations.histogram import ABSTAIN, Integers, noised_histogram, privacy_event
from ecos_core.client.operations.labels import label_numbers
from ecos_core.client.operations.score import coverage_votes
from ecos_core.client.operations.task import Context, Task, only_array
from ecos_core.client.protocol import Arrays, HistogramParameters, Request, canonical_points, parse
from ecos_core.errors import InputError

CELLS_LIMIT = 1_000_000


def prepare(context: Context, header: dict[str, Any], arrays: Arrays) -> Task:
    """Hold a request against the policy. Raises InputError, PolicyError."""
    asked = parse(HistogramParameters, header, "label-histogram request")
    centroids = only_array(arrays, "centroids", "<f4")
    context.policy.check_mechanism(asked.sigma, asked.adjacency)
    held = context.features(asked.fingerprint, centroids)
    context.policy.check_clusters(len(centroids))
    points = canonical_points(centroids)
    rows, columns = len(points), len(asked.classes)
    if rows * columns > CELLS_LIMIT:
        raise InputError(f"{rows} clusters x {columns} classes: at most {CELLS_LIMIT:,} cells in one answer")
    units = held.units if asked.adjacency == "unit" else None
    labels = label_numbers(held, asked.classes)

    def answer() -> Arrays:
        def votes() -> Integers:
            cells = coverage_votes(held.features, points) * columns + labels
            cells[labels == ABSTAIN] = ABSTAIN
            return cells

        counts = noised_histogram(votes, rows * columns, asked.sigma, gamma=asked.gamma, units=units)
        return {"counts": counts.reshape(rows, columns)}

    event = privacy_event(asked.sigma, asked.adjacency, asked.gamma)
    return Task(Request(asked, {"centroids": points}), [event], answer)
