"""Class labels by cluster: how many private records of class c have centroid r as their nearest.

One release of R x C counts labels any number of public samples afterwards: every sample of a cluster takes the
cluster's noisy majority class.

Domain, neighbours and assumptions as for ``score``. Bound: a record contributes 1 in the cell of its nearest centroid
and its own label, or nothing where it has none of the classes: L2 1 (sqrt 2 under replace). One *file* less, of a
content that several files hold, can take a label from the record or give it one: nothing becomes one vote or one
vote nothing, L2 1 again, since labels in conflict abstain (``client.records``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ecos_core.client.operations.operation import ABSTAIN, Operation, Record, Sum, different
from ecos_core.client.protocol import Arrays, Classes, Gamma, Parameters, Sigma
from ecos_core.errors import InputError

CELLS_LIMIT = 1_000_000


class HistogramParameters(Parameters):
    """The header of a request for class labels by cluster: int64 [R, C] counts of (nearest centroid,
    label).
    """

    operation: Literal["label-histogram"] = "label-histogram"
    sigma: Sigma
    gamma: Gamma = 1.0
    classes: Classes


def ask(asked: HistogramParameters, arrays: Arrays) -> Sum:
    """Counts int64 [R, C]. Raises InputError for more cells than one answer may have."""
    centroids, classes = arrays["centroids"], different(asked.classes)
    shape = (len(centroids), len(classes))
    if shape[0] * shape[1] > CELLS_LIMIT:
        raise InputError(
            f"{shape[0]} clusters x {shape[1]} classes: at most {CELLS_LIMIT:,} cells in one answer"
        )

    def vote(record: Record) -> Mapping[int, int]:
        return {} if record.label == ABSTAIN else {record.nearest * len(classes) + record.label: 1}

    return Sum(vote, shape, asked.sigma, asked.gamma, centroids=centroids, classes=classes)


OPERATION = Operation(
    "Noised counts of labels by cluster.", HistogramParameters, {"centroids": "centroids"}, ask
)
