"""How much of a client lies outside what the lake covers, from one noised histogram, and what follows for the choice.

A record votes for its nearest cluster when it lies within that cluster's radius, else for the region that the cluster
is in: one vote in one of R + K cells, so the privacy is that of one histogram. The radius holds 95 % of the cluster's
own members; where the lake holds the client's kind, 5 % of its records are outside by that alone, and so the share
reported is the excess: (outside - 0.05) / 0.95.

With O the noised outside votes and M the noised inside ones, of K and R cells, O - t (O + M) has mean 0 at the true
share t and variance sigma^2 (K (1 - t)^2 + R t^2). The t that a normal law does not rule out are the interval (Fieller,
1954): exact also where the noise is as large as the counts, and the whole line where nothing can be said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecos_core.sampling.config import Scores

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EXPECTED = 0.05
# Of a two-sided interval of 95 %, and of one standard error.
TWO_SIDED_95, STANDARD_ERROR = 1.959964, 1.0
# An interval wider than this tells nothing that a person could act on.
WIDEST = 0.5
# Below NEAR nothing changes; from FAR on the seats are as even as they get.
NEAR, FAR = 0.1, 0.3
LEAST_POWER = 0.25
LEAST_TYPICAL = 10


@dataclass(frozen=True)
class OutsideShare:
    """The share of a client's records outside what the lake covers, 0..1, with its 95 % interval ``low`` to ``high``.

    ``least``: its value less one standard error, not below 0, which the choice goes by.
    """

    share: float
    low: float
    high: float
    least: float

    @property
    def known(self) -> bool:
        """Whether the interval says anything; with too few records for the noise it does not."""
        return self.high - self.low <= WIDEST


def outside_share(scores: Scores) -> OutsideShare | None:
    """The estimate; None where the client was not asked for it."""
    if scores.outside is None:
        return None
    inside, outside = float(scores.noisy.sum()), float(scores.outside.sum())
    cells = len(scores.noisy), len(scores.outside)
    low, high = _fieller(inside, outside, cells, scores.sigma * TWO_SIDED_95)
    least, _ = _fieller(inside, outside, cells, scores.sigma * STANDARD_ERROR)
    total = inside + outside
    share = _excess(outside / total) if total > 0 else 0.0
    return OutsideShare(min(max(share, low), high), low, high, least)


def _fieller(inside: float, outside: float, cells: tuple[int, int], width: float) -> tuple[float, float]:
    """The shares t with |O - t N| <= width sqrt(K (1 - t)^2 + R t^2), less what is expected, within 0..1."""
    total, spread = inside + outside, width**2
    square = total**2 - spread * sum(cells)
    half = outside * total - spread * cells[1]
    constant = outside**2 - spread * cells[1]
    if total <= 0 or square <= 0:
        return 0.0, 1.0
    root = math.sqrt(max(half**2 - square * constant, 0.0))
    return _excess((half - root) / square), _excess((half + root) / square)


def _excess(share: float) -> float:
    return min(max((share - EXPECTED) / (1.0 - EXPECTED), 0.0), 1.0)


def power_for(share: OutsideShare | None) -> float:
    """The power of the clusters' weights: 1 where the lake is near, falling to 1/4 where the client is far from it.

    A concentrated answer is right when the lake holds the client's kind of record and wrong when it does not
    (docs/study.md). What the noise leaves open counts as near.
    """
    if share is None or not share.known:
        return 1.0
    far = min(max((share.least - NEAR) / (FAR - NEAR), 0.0), 1.0)
    return 1.0 - (1.0 - LEAST_POWER) * far


def typical_for(power: float) -> int | None:
    """How many picks of a cluster are typical of it before the others reach for its edges; None: all of them.

    From 10 where the client is far, growing without bound as the lake comes near.
    """
    far = (1.0 - power) / (1.0 - LEAST_POWER)
    return math.ceil(LEAST_TYPICAL / far) if far > 0 else None


def outside_by_cluster(scores: Scores) -> Doubles:
    """The outside votes of every region, those below 0 as none, evenly over its clusters: float64 [R]."""
    if scores.outside is None or scores.regions is None:
        return np.zeros(len(scores.noisy))
    clusters = np.maximum(np.bincount(scores.regions, minlength=len(scores.outside)), 1)
    return (np.maximum(scores.outside, 0) / clusters)[scores.regions]


def nearest_clusters(scores: Scores, estimated: Doubles, most: int = 5) -> list[int]:
    """The clusters near which most of the outside records lie: of the fewest regions that hold more than half of the
    outside votes, those of the largest ``estimated`` counts [R]; at most ``most``."""
    if scores.outside is None or scores.regions is None:
        return []
    votes = np.maximum(scores.outside, 0).astype(np.float64)
    order = np.argsort(-votes, kind="stable")
    needed = int(np.searchsorted(np.cumsum(votes[order]), votes.sum() / 2, side="right")) + 1
    near = np.flatnonzero(np.isin(scores.regions, order[:needed]))
    return near[np.argsort(-estimated[near], kind="stable")][:most].tolist()
