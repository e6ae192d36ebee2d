"""Labels for public points by private k nearest neighbours (Zhu et al., CVPR 2020, algorithm 1).

Domain: records with a finite feature, any set of at least one different, finite points. Neighbours as for ``score``.
Bound, for each point: how near a record is is a function of it and the point alone (``kernels.nearest``: exact), so a
record more pushes at most one other out of the K nearest. The votes change by its one vote in, at most one out: L2 sqrt
2; the largest vote by at most 1. A record replaced by another swaps one of the K too. Under ``unit`` a unit is one
voter, by its nearest record. A file less can change one neighbour's vote into none or back: L2 1. The aggregation is
``client.knn``; both releases of a point are charged, labelled or not. Assumes nothing about data or asker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ecos_core.client.operations.operation import ABSTAIN, Neighbours, Operation, Record, different
from ecos_core.client.protocol import Arrays, Classes, Gamma, Parameters, Sigma


class LabelParameters(Parameters):
    """The header of a request for labels of public points by private k nearest neighbours.

    ``neighbours``: K; ``threshold``: a point is labelled when its largest vote plus noise of ``screening_sigma``
    exceeds it; ``argmax_sigma``: noise of the votes.
    """

    operation: Literal["label"] = "label"
    neighbours: Annotated[int, Field(ge=1, le=10_000)]
    threshold: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
    screening_sigma: Sigma
    argmax_sigma: Sigma
    gamma: Gamma = 1.0
    classes: Classes


def ask(asked: LabelParameters, arrays: Arrays) -> Neighbours:
    """Labels int64 [m]: the place in ``classes``, or -1."""
    return Neighbours(
        contribution=vote,
        points=arrays["points"],
        classes=different(asked.classes),
        neighbours=asked.neighbours,
        threshold=asked.threshold,
        screening_sigma=asked.screening_sigma,
        argmax_sigma=asked.argmax_sigma,
        gamma=asked.gamma,
    )


def vote(record: Record) -> Mapping[int, int]:
    """One vote, for the record's own label."""
    return {} if record.label == ABSTAIN else {record.label: 1}


OPERATION = Operation(
    "Labels of public points by private k nearest neighbours.", LabelParameters, {"points": "points"}, ask
)
