"""One cell of an accuracy table: split a domain, cluster the lake, ask for scores, sample, probe.

A *job* is a (pool, client domain, seed): its split, its clustering and its clean histogram are shared by
all samplers and budgets. Noisy samplers are averaged over ``draws`` answers of the real discrete
Gaussian, so that a cell says what to expect and not what one draw happened to give. Budgets are prefixes
of one selection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ecos_core.errors import InputError
from ecos_core.storage import canonical_json, sha256_hex

POOLS = ("id+ood", "ood")
# What a table can compare. whole_lake and local are references that no budget binds.
SCORED = ("ecos", "ecos_paper", "proximity", "dsir")
FREE = ("random", "k_center", "balanced")
PRIVILEGED = ("ecos_noise_free", "oracle", "whole_lake", "local")
TABLE_SAMPLERS = ("ecos", "ecos_paper", "ecos_noise_free", "random", "k_center")
ALL_SAMPLERS = (*SCORED, *FREE, *PRIVILEGED)
PAPER_GAMMA = 0.8
CODE_VERSION = 2


class Grid(BaseModel):
    """What to measure. ``epsilon`` is one release's at ``delta`` (add/remove adjacency)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pools: tuple[str, ...] = POOLS
    clients: tuple[str, ...]
    samplers: tuple[str, ...] = TABLE_SAMPLERS
    budgets: tuple[int, ...] = (100, 300, 1000)
    seeds: tuple[int, ...] = (1, 2, 3)
    epsilon: float = Field(0.582, gt=0)
    delta: float = Field(1e-5, gt=0, lt=1)
    clusters: int = Field(100, ge=1)
    draws: int = Field(3, ge=1)
    c: float = Field(0.01, gt=0)

    @field_validator("pools", "samplers")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = POOLS if info.field_name == "pools" else ALL_SAMPLERS
        for name in names:
            if name not in known:
                raise ValueError(f"'{name}' is none of {', '.join(known)}")
        return names

    @field_validator("budgets", "seeds")
    @classmethod
    def _some(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not values or min(values) < 1:
            raise ValueError("give at least one, all 1 or more")
        return tuple(sorted(set(values)))


@dataclass(frozen=True)
class ImageSet:
    """A labelled data set of several domains, as features: ``features`` float32 [n, d] of L2 norm 1, the
    rest [n].
    """

    sample_ids: NDArray[np.str_]
    features: NDArray[np.float32]
    labels: NDArray[np.str_]
    domains: NDArray[np.str_]
    digest: str

    @classmethod
    def load(cls, path: Path) -> ImageSet:
        with np.load(path, allow_pickle=False) as arrays:
            return cls(
                arrays["sample_ids"],
                arrays["features"],
                arrays["labels"],
                arrays["domains"],
                str(arrays["digest"]),
            )

    def save(self, path: Path) -> None:
        temporary = path.with_name(f".tmp-{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(
                file,
                sample_ids=self.sample_ids,
                features=self.features,
                labels=self.labels,
                domains=self.domains,
                digest=np.str_(self.digest),
            )
        temporary.replace(path)


@dataclass(frozen=True)
class Job:
    """What shares a split and a clustering."""

    pool: str
    client: str
    seed: int


@dataclass(frozen=True)
class Cell:
    """A measured cell. ``accuracies`` has one value a draw, in [0, 1]; ``epsilon`` is None where nothing
    bounds it.
    """

    pool: str
    client: str
    seed: int
    sampler: str
    budget: int
    epsilon: float | None
    sigma: float | None
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.accuracies))


def jobs_of(grid: Grid) -> list[Job]:
    return [Job(pool, client, seed) for pool in grid.pools for client in grid.clients for seed in grid.seeds]


def cell_key(grid: Grid, digest: str, job: Job, sampler: str) -> str:
    """What a sampler's cells of one job depend on, as a digest: the name of their file."""
    settings = grid.model_dump(mode="json", exclude={"pools", "clients", "samplers", "seeds"})
    return sha256_hex(
        canonical_json([CODE_VERSION, digest, job.pool, job.client, job.seed, sampler, settings])
    )


class JobData:
    """The rows of one job and what is computed once for all samplers."""

    def __init__(self, images: ImageSet, job: Job, grid: Grid) -> None:
        from ecos_core.lake.splits import split_domain

        self.images, self.job, self.grid = images, job, grid
        mine = np.flatnonzero(images.domains == job.client)
        if not len(mine):
            raise InputError(
                f"no domain '{job.client}' here; domains are {', '.join(np.unique(images.domains))}"
            )
        row = {str(images.sample_ids[index]): int(index) for index in mine}
        parts = split_domain(
            [(key, str(images.labels[index])) for key, index in row.items()], 0.4, 0.2, seed=job.seed
        )
        others = np.flatnonzero(images.domains != job.client)
        extra = [row[key] for key in parts.lake] if job.pool == "id+ood" else []
        self.client = np.array([row[key] for key in parts.client])
        self.test = np.array([row[key] for key in parts.test])
        self.lake = np.sort(np.concatenate([others, np.array(extra, dtype=others.dtype)]))

    @cached_property
    def pool(self) -> Any:
        """The clustered lake, an ``ArrayPool``."""
        from ecos_core.clustering.assignment import nearest
        from ecos_core.clustering.kmeans import fit_kmeans
        from ecos_core.sampling.pool import ArrayPool

        features = self.images.features[self.lake]
        centroids = fit_kmeans(features, self.grid.clusters, seed=self.job.seed).vectors
        return ArrayPool(
            self.images.sample_ids[self.lake],
            features,
            nearest(features, centroids)[0],
            centroids,
            labels=self.images.labels[self.lake],
            domains=self.images.domains[self.lake],
        )

    @cached_property
    def votes(self) -> NDArray[np.int64]:
        """Each client sample's nearest centroid, int64 [m]."""
        from ecos_core.clustering.assignment import nearest

        return np.asarray(nearest(self.images.features[self.client], self.pool.centroids)[0], dtype=np.int64)

    def accuracy(self, rows: NDArray[np.integer[Any]]) -> float:
        """Of the linear probe trained on ``rows``, on the client's test set."""
        from ecos_core.training.evaluation import evaluate
        from ecos_core.training.linear_probe import train_linear_probe

        probe = train_linear_probe(
            self.images.features[rows], self.images.labels[rows], c=self.grid.c, seed=self.job.seed
        )
        probabilities = probe.predict_proba(self.images.features[self.test])
        return evaluate(probabilities, self.images.labels[self.test], probe.classes).accuracy

    def rows_of(self, sample_ids: Iterable[str]) -> NDArray[np.int64]:
        return np.array([self._row_of[str(sample_id)] for sample_id in sample_ids], dtype=np.int64)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(self.images.sample_ids[row]): int(row) for row in self.lake}


def run_sampler(data: JobData, sampler: str) -> list[Cell]:
    """All budgets of one sampler in one job. A sampler that cannot be (the oracle without a domain) gives
    none.
    """
    grid, job = data.grid, data.job
    if sampler in ("whole_lake", "local"):
        rows = data.lake if sampler == "whole_lake" else data.client
        return [_cell(job, sampler, len(rows), None, None, [data.accuracy(rows)])]
    if sampler == "oracle" and job.pool == "ood":
        return []
    epsilon, sigma, draws = privacy_of(sampler, grid)
    budgets = [budget for budget in grid.budgets if budget <= data.pool.size]
    accuracies: dict[int, list[float]] = {budget: [] for budget in budgets}
    for draw in range(draws):
        picked = select(data, sampler, max(budgets), sigma, seed=job.seed + 1000 * draw)
        for budget in budgets:
            accuracies[budget].append(data.accuracy(data.rows_of(picked[:budget])))
    return [_cell(job, sampler, budget, epsilon, sigma, accuracies[budget]) for budget in budgets]


def _cell(
    job: Job,
    sampler: str,
    budget: int,
    epsilon: float | None,
    sigma: float | None,
    accuracies: Sequence[float],
) -> Cell:
    return Cell(job.pool, job.client, job.seed, sampler, budget, epsilon, sigma, tuple(accuracies))


def privacy_of(sampler: str, grid: Grid) -> tuple[float | None, float | None, int]:
    """(epsilon, sigma, draws): nothing is released for samplers that ask no client, nothing bounds the
    noise-free.
    """
    if sampler in FREE:
        return 0.0, None, 1
    if sampler in PRIVILEGED:
        return None, 0.0 if sampler == "ecos_noise_free" else None, 1
    sigma = (
        paper_sigma(grid.epsilon, grid.delta)
        if sampler == "ecos_paper"
        else planned_sigma(grid.epsilon, grid.delta)
    )
    return grid.epsilon, sigma, grid.draws


@lru_cache(maxsize=64)
def planned_sigma(epsilon: float, delta: float) -> float:
    """The planner's sigma: one release, add/remove, no subsampling."""
    from ecos_core.privacy.planner import plan_sigma

    return plan_sigma(epsilon, delta).sigma


@lru_cache(maxsize=64)
def paper_sigma(epsilon: float, delta: float) -> float:
    """The sigma at which the paper's accounting with gamma = 0.8 gives ``epsilon``: 10 for 0.5821."""
    from scipy.optimize import brentq

    from ecos_core.privacy.accounting import epsilon_paper
    from ecos_core.privacy.events import histogram_event

    def excess(log_sigma: float) -> float:
        return epsilon_paper([histogram_event(math.exp(log_sigma), gamma=PAPER_GAMMA)], delta) - epsilon

    return math.exp(brentq(excess, math.log(0.5), math.log(2000.0), xtol=1e-4))


def select(data: JobData, sampler: str, budget: int, sigma: float | None, *, seed: int) -> list[str]:
    """Sample ids in the order picked."""
    from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores

    scores = None
    config = SamplerConfig()
    if sampler in SCORED or sampler == "ecos_noise_free":
        assert sigma is not None
        scores = Scores(noisy_histogram(data, sigma, PAPER_GAMMA if sampler == "ecos_paper" else 1.0), sigma)
    if sampler == "oracle":
        config = SamplerConfig(target_domain=data.job.client)
    name = {"ecos_noise_free": "ecos"}.get(sampler, sampler)
    selection = SAMPLERS[name](data.pool, budget, scores=scores, config=config, seed=seed)
    return [str(sample_id) for sample_id in selection.sample_id]


def noisy_histogram(data: JobData, sigma: float, gamma: float) -> NDArray[np.int64]:
    """The client's answer: votes (a Poisson subsample where gamma < 1) plus discrete Gaussian noise,
    int64 [R].
    """
    from ecos_core.privacy.mechanisms import discrete_gaussian_noise

    votes = data.votes
    if gamma < 1.0:
        votes = votes[np.random.default_rng().random(len(votes)) < gamma]
    counts = np.bincount(votes, minlength=data.grid.clusters).astype(np.int64)
    return counts + discrete_gaussian_noise(len(counts), sigma) if sigma else counts
