"""What a report is made of. Everything but the title is optional: a part without data says so on the page.

Accuracies are fractions in [0, 1]. Nothing here is private: the scores are the client's noised answer, the
privacy statement is what its receipt says, images are the lake's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LakeSummary:
    """What is in the lake. The mappings count images by domain, licence, source and reason of refusal."""

    images: int
    domains: Mapping[str, int] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    licences: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    snapshot: str | None = None


@dataclass(frozen=True)
class Montage:
    """Images to show side by side: encoded bytes of any format that Pillow reads, and a line below."""

    title: str
    images: tuple[bytes, ...]
    caption: str = ""


@dataclass(frozen=True)
class ClusteringSummary:
    """How the lake was clustered. ``sizes``: [R] images a cluster; ``montages``: clusters worth showing."""

    clusters: int
    extractor: str
    dimension: int
    backend: str = ""
    mean_squared_distance: float | None = None
    sizes: NDArray[np.integer] | None = None
    montages: tuple[Montage, ...] = ()


@dataclass(frozen=True)
class ResultRow:
    """One cell of the results table. ``epsilon`` (of one release) and ``delta`` are None where no client was asked;
    ``epsilon_paper``: what the paper's accounting claims, in its own mode only."""

    pool: str
    client: str
    sampler: str
    budget: int
    accuracy_mean: float
    accuracy_std: float
    seeds: tuple[int, ...]
    epsilon: float | None = None
    delta: float | None = None
    use: str = "linear_probe"
    epsilon_paper: float | None = None


@dataclass(frozen=True)
class PrivacyStatement:
    """What the client's receipt and ledger say. Epsilons are at ``delta``; a limit of None was not told."""

    epsilon_release: float
    epsilon_total: float
    epsilon_autodp: float
    delta: float
    adjacency: str
    sigma: float
    sensitivity: float = 1.0
    gamma: float = 1.0
    epsilon_limit: float | None = None
    receipt: str | None = None

    @property
    def epsilon_remaining(self) -> float | None:
        """What is left under the client's limit, never below 0; None when the limit is not known."""
        return None if self.epsilon_limit is None else max(0.0, self.epsilon_limit - self.epsilon_total)


@dataclass(frozen=True)
class Scores:
    """The client's answer: ``noisy`` [R] votes with noise of ``sigma``; ``denoised`` [R], or None."""

    noisy: NDArray[np.generic]
    sigma: float
    denoised: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class Outside:
    """How much of the client lies outside what the lake covers: 0..1 with its 95 % interval, and the sentence."""

    known: bool
    share: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Quotas:
    """``quota`` [R] images asked of each cluster, ``sizes`` [R] images it holds."""

    quota: NDArray[np.integer]
    sizes: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class LakeMap:
    """``points`` [n, 2], ``selected`` [n], and the domain of each point."""

    points: NDArray[np.floating]
    selected: NDArray[np.bool_]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Link:
    """An address to go on from the page, such as the MLflow run."""

    title: str
    url: str


@dataclass(frozen=True)
class ReportData:
    """All that the page shows. ``omitted``: reason -> samples left out; ``digests``: role -> its digest.

    ``about`` an ``index``: the lake and its clusters alone, without the parts of an outsourcing.
    """

    title: str
    subtitle: str = ""
    about: Literal["outsourcing", "index"] = "outsourcing"
    lake: LakeSummary | None = None
    clustering: ClusteringSummary | None = None
    results: tuple[ResultRow, ...] = ()
    privacy: PrivacyStatement | None = None
    scores: Scores | None = None
    outside: Outside | None = None
    quotas: Quotas | None = None
    coverage: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    lake_map: LakeMap | None = None
    montages: tuple[Montage, ...] = ()
    omitted: Mapping[str, int] | None = None
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
