"""Centroid coverage (Hong et al., NeurIPS 2022): how many private records have centroid r as their nearest.

Domain: records with a finite feature, any set of at least one different, finite centroids of a size that features
have. Neighbours: a record more or less (add-remove), another in its place (replace), a unit more or less (unit).
Bound: a record's contribution is 1 in the cell of its nearest centroid, a function of it and the centroids alone
(``kernels.nearest``: exact), so the sum changes by 1 in one cell: L2 1; by 1 in two cells under replace: sqrt 2; a
unit's votes are shortened to L2 norm 1. Assumes nothing about the data or the asker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy.typing as npt

from ecos_core.client.operations.operation import Operation, Record, Sum
from ecos_core.client.protocol import Arrays, Gamma, Parameters, Request, Sigma, canonical_points, parse


class ScoreParameters(Parameters):
    """The header of a score request: everything but the centroids."""

    operation: Literal["score"] = "score"
    sigma: Sigma
    gamma: Gamma = 1.0


def ask(asked: ScoreParameters, arrays: Arrays) -> Sum:
    """Counts int64 [R]."""
    centroids = arrays["centroids"]
    return Sum(coverage, (len(centroids),), asked.sigma, asked.gamma, centroids=centroids)


def coverage(record: Record) -> Mapping[int, int]:
    """One vote, for the nearest centroid."""
    return {record.nearest: 1}


OPERATION = Operation("Noised centroid coverage scores.", ScoreParameters, {"centroids": "centroids"}, ask)


def score_request(
    centroids: npt.ArrayLike,
    *,
    sigma: float,
    fingerprint: str,
    adjacency: str = "add-remove",
    gamma: float = 1.0,
) -> Request:
    """Ask for the coverage scores of ``centroids`` [R, d], finite, all different.

    ``sigma``: standard deviation of the discrete Gaussian, in records; ``gamma``: each record counts with
    this probability (1: all of them); ``fingerprint``: of the extractor that made the features the centroids
    live in.
    Raises InputError for whatever the client would refuse by its shape alone.
    """
    header = {
        "sigma": float(sigma),
        "adjacency": str(adjacency),
        "gamma": float(gamma),
        "fingerprint": fingerprint,
    }
    points = canonical_points(centroids)
    return Request(parse(ScoreParameters, header, "score request"), {"centroids": points})
