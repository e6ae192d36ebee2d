"""What an operation is: how a request is read, and what ONE record contributes to its answer.

An operation sees whole numbers about one record (``Record``) and the request; never two records, the noise, the
ledger or a key. What it gives back, cells and weights, is held against the bound that it claims in one place
(``client.contributions``); noise, charge, storage and signature are ``client.release``'s. A new one is a module with an
``Operation`` in it and a line in this package's list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ecos_core.client.kernels.perceptron import Perceptron
from ecos_core.client.protocol import Arrays, Classes, Floats, Parameters, Participant
from ecos_core.errors import InputError

ABSTAIN = -1


class Record(NamedTuple):
    """All that an operation may know of a record: whole numbers, each a function of this record and the request.

    ``nearest``: the place of its nearest centroid; ``outside``: 1 where it is farther from it than the centroid's
    radius; ``label``: the place of its label in the request's classes; ``predicted``: of the class that the
    request's model gives it. ABSTAIN for what there is not, or was not asked for.
    """

    nearest: int
    outside: int
    label: int
    predicted: int


# Cells, and a weight of at least 0 for each.
Contribution = Callable[[Record], Mapping[int, int]]


@dataclass(frozen=True, eq=False)
class Sum:
    """Ask for the noised sum of what every record contributes, integers in ``shape``.

    A contribution whose squared L2 norm is beyond ``squared_bound`` counts as none. ``sigma`` of the noise (with
    ``participants``: of the sum over all of them, masked); ``gamma``: each record counts with this probability.
    ``centroids`` [R, d], ``radii`` [R], ``classes`` and ``model`` say what facts are needed.
    """

    contribution: Contribution
    shape: tuple[int, ...]
    sigma: float
    gamma: float = 1.0
    squared_bound: int = 1
    centroids: Floats | None = None
    radii: Floats | None = None
    classes: Classes = ()
    model: Perceptron | None = None
    participants: tuple[Participant, ...] = ()

    @property
    def cells(self) -> int:
        """Cells of the answer, all axes together."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Ask, for each of ``points`` [m, d], for the class with most votes among its nearest records (private kNN).

    A record's contribution is its vote: at most one cell, of weight 1. Two releases a point: the largest vote, with
    noise of ``screening_sigma``, is held against ``threshold``; the votes, with noise of ``argmax_sigma``, choose.
    """

    contribution: Contribution
    points: Floats
    classes: Classes
    neighbours: int
    threshold: float
    screening_sigma: float
    argmax_sigma: float
    gamma: float = 1.0


Query = Sum | Neighbours


@dataclass(frozen=True)
class Operation:
    """A line of the registry: what it is called, what a request holds, and the query that a request becomes.

    ``arrays``: what each of the request's arrays is, by name (``release`` reads and bounds them by the policy);
    ``ask`` gets the checked header and arrays and looks at nothing else. It raises InputError. ``takes_reach``:
    whether ``radii`` and ``regions`` may come with the centroids.
    """

    summary: str
    parameters: type[Parameters]
    arrays: Mapping[str, Literal["centroids", "points", "model"]]
    ask: Callable[[Any, Arrays], Query]
    takes_reach: bool = False

    @property
    def name(self) -> str:
        """What requests, policy and ledger call it."""
        return str(self.parameters.model_fields["operation"].default)


def different(classes: Classes) -> Classes:
    """Raises InputError when a class is listed twice."""
    if len(set(classes)) != len(classes):
        raise InputError("classes: one of them is listed twice")
    return classes
