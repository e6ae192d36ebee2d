"""Centroid coverage (Hong et al., NeurIPS 2022): how many private records have centroid r as their nearest.

Domain: records with a finite feature, any set of at least one different, finite centroids of a size that features
have. Neighbours: a record more or less (add-remove), another in its place (replace), a unit more or less (unit).
Bound: a record's contribution is 1 in the cell of its nearest centroid, a function of it and the centroids alone
(``kernels.nearest``: exact), so the sum changes by 1 in one cell: L2 1; by 1 in two cells under replace: sqrt 2; a
unit's votes are shortened to L2 norm 1. Assumes nothing about the data or the asker.

With public radii [R] and regions [R] (0..K-1) the same vote falls into one of R + K cells: into that of the record's
nearest centroid, or, where it lies farther from it than the centroid's radius, into that of the centroid's region.
Whether it does is a function of the record, the centroids and the radii (``kernels.nearest.outside``: both squares are
exact whole numbers), and the region one of the centroid alone. So it is still 1 in one cell, whatever the radii and
regions are: the bounds above hold word for word, and it costs what it costs without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from ecos_core.client.operations.operation import Contribution, Operation, Record, Sum
from ecos_core.client.protocol import (
    POINT_MAGNITUDES,
    Arrays,
    Gamma,
    Parameters,
    Request,
    Sigma,
    canonical_points,
    canonical_reach,
    parse,
)


class ScoreParameters(Parameters):
    """The header of a score request: everything but the centroids."""

    operation: Literal["score"] = "score"
    sigma: Sigma
    gamma: Gamma = 1.0


def ask(asked: ScoreParameters, arrays: Arrays) -> Sum:
    """Counts int64 [R], or [R + K] with radii and regions."""
    return Sum(
        *votes(arrays), asked.sigma, asked.gamma, centroids=arrays["centroids"], radii=arrays.get("radii")
    )


def cells_of(arrays: Arrays) -> int:
    """How many counts the answer to a request of these arrays has: R, or R + K."""
    more = int(arrays["regions"].max()) + 1 if "regions" in arrays else 0
    return len(arrays["centroids"]) + more


def votes(arrays: Arrays) -> tuple[Contribution, tuple[int]]:
    """What a record contributes, and into how many cells."""
    shape = (cells_of(arrays),)
    if "regions" not in arrays:
        return coverage, shape
    clusters = len(arrays["centroids"])
    cells = [clusters + region for region in arrays["regions"].tolist()]

    def inside_or_outside(record: Record) -> Mapping[int, int]:
        return {cells[record.nearest] if record.outside else record.nearest: 1}

    return inside_or_outside, shape


def coverage(record: Record) -> Mapping[int, int]:
    """One vote, for the nearest centroid."""
    return {record.nearest: 1}


OPERATION = Operation(
    "Noised centroid coverage scores.", ScoreParameters, {"centroids": "centroids"}, ask, takes_reach=True
)


def score_request(
    centroids: npt.ArrayLike,
    *,
    sigma: float,
    fingerprint: str,
    adjacency: str = "add-remove",
    gamma: float = 1.0,
    reach: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Request:
    """Ask for the coverage scores of ``centroids`` [R, d], finite, all different.

    ``reach``: radii [R] and regions int [R] in 0..K-1; then there are K counts more, of what lies outside. A radius
    below 1e-6 is sent as 0.

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
    return Request(parse(ScoreParameters, header, "score request"), score_arrays(centroids, reach))


def score_arrays(centroids: npt.ArrayLike, reach: tuple[npt.ArrayLike, npt.ArrayLike] | None) -> Arrays:
    """The arrays of a request. Raises InputError."""
    points = canonical_points(centroids)
    if reach is None:
        return {"centroids": points}
    radii = np.asarray(reach[0], np.float32)
    radii = np.where(np.abs(radii) < POINT_MAGNITUDES[0], np.float32(0), radii)
    radii, regions = canonical_reach(radii, np.asarray(reach[1]).astype(np.int64), len(points))
    return {"centroids": points, "radii": radii, "regions": regions}
