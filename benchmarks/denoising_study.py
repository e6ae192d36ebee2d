"""Study: how to turn noisy scores into a selection. Its results are what the samplers' defaults rest on.

PACS, each domain in turn the client, epsilon of one release at delta 1e-5 (add/remove): clusters, denoising,
weighting, choice inside a cluster, a second round and private moments at equal total epsilon. Accuracy is a
linear probe's on the client's test images. Finished cells are kept, so a run that was stopped goes on.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import default_home
from benchmarks.grid import Grid, ImageSet, Job, JobData, planned_sigma
from benchmarks.pacs import DOMAINS, prepare
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.sampling.by_score import denoised
from ecos_core.sampling.moments import INTEGER_SCALE, moment_query, scores_from_moments
from ecos_core.sampling.rounds import refine, sigma_of_each_round
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores, Selection
from ecos_core.storage import canonical_json, sha256_hex

DELTA = 1e-5
AUTO_RATIO = 1.0
EPSILONS = (0.08, 0.1, 0.14, 0.22, 0.582, 1.2, None)
CLUSTERS = (10, 50, 100, 200, 300, 1000)
VERSION = 1


@dataclass(frozen=True)
class Setting:
    """One line of the study, in a ``group`` that is one table.

    ``clusters`` None: from the signal to noise; ``epsilon`` None: no noise.
    """

    group: str
    epsilon: float | None
    clusters: int | None = None
    scheme: str = "histogram"
    denoise: str = "empirical_bayes"
    power: float = 1.0
    weighting: str = "score"
    diversity: str = "facility"
    pool: str = "id+ood"
    budgets: tuple[int, ...] = (100, 300)

    def config(self) -> SamplerConfig:
        names = ("denoise", "power", "weighting", "diversity")
        return SamplerConfig.model_validate({name: getattr(self, name) for name in names})


def settings() -> Iterator[Setting]:
    """All lines, the most telling first."""
    for epsilon in (0.1, 0.582, None):
        yield from (Setting("choice", epsilon, diversity=choice) for choice in ("facility", "k_center"))
    for epsilon in (0.1, 0.582, None):
        yield from (Setting("power", epsilon, power=power) for power in (0.5, 0.75, 1.0))
    for epsilon in (0.1, 0.582, None):
        yield from (
            Setting("clusters", epsilon, clusters, power=0.75) for clusters in (10, 30, 100, 300, None)
        )
    for epsilon in (0.1, 0.582):
        yield Setting("queries", epsilon, power=0.75)
        yield Setting("queries", epsilon, scheme="two rounds", power=0.75)
        for scheme in ("moments 8", "moments 32"):
            yield Setting("queries", epsilon, 300, scheme=scheme, power=0.75)
        for denoise in ("empirical_bayes", "clip", "threshold", "lake_prior", "simplex"):
            yield Setting("denoising", epsilon, denoise=denoise, power=0.75)
        yield Setting("denoising", epsilon, weighting="ratio", power=0.75)
    for pool in ("id+ood", "ood"):
        for sampler in ("random", "k_center"):
            group = "others" if pool == "id+ood" else "no image in the lake"
            yield Setting(group, None, clusters=100, scheme=sampler, pool=pool, budgets=(100, 300, 1000))
    for epsilon in (0.1, 0.582):
        for diversity, power in (("facility", 0.75), ("k_center", 1.0)):
            yield Setting("no image in the lake", epsilon, pool="ood", diversity=diversity, power=power)
    for epsilon in (0.1, 0.582, None):
        yield Setting("larger budgets", epsilon, power=0.75, budgets=(1000,))
    for epsilon in (0.22, 1.2):
        yield Setting("epsilon", epsilon, power=0.75)


def run(
    data_root: Path,
    *,
    quick: bool = False,
    seeds: tuple[int, ...] = (1, 2, 3),
    clients: tuple[str, ...] = DOMAINS,
    home: Path | None = None,
    progress: ProgressSink = silent,
) -> list[dict[str, Any]]:
    """Rows of the study: a setting, and a budget's mean accuracy in per cent over clients and seeds."""
    home = home or default_home()
    images = ImageSet.load(prepare(Path(data_root), home, progress=progress))
    jobs = [(client, seed) for seed in seeds for client in clients][: 1 if quick else None]
    chosen = list(settings())[: 4 if quick else None]
    cells: list[dict[str, Any]] = []
    for done, (client, seed) in enumerate(jobs):
        progress(Progress("study", done, len(jobs), "splits"))
        cells += _job_cells(images, client, seed, chosen, home / "bench" / "study")
    return summarise(cells)


def summarise(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the splits that all lines of a group have; ``error`` is the standard error of the mean."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell in common_splits(cells):
        groups.setdefault(json.dumps([cell["setting"], cell["budget"]], sort_keys=True), []).append(cell)
    rows = []
    for members in groups.values():
        values = 100 * np.array([cell["accuracy"] for cell in members])
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
        setting = {key: value for key, value in members[0]["setting"].items() if key != "budgets"}
        figures = {"accuracy": round(float(values.mean()), 2), "error": error, "splits": len(values)}
        rows.append({**setting, "budget": members[0]["budget"], **figures})
    return rows


def common_splits(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells of the clients and seeds that every line of their group was measured on."""
    measured: dict[str, dict[str, set[tuple[str, int]]]] = {}
    for cell in cells:
        lines = measured.setdefault(cell["setting"]["group"], {})
        line = json.dumps(cell["setting"], sort_keys=True)
        lines.setdefault(line, set()).add((cell["client"], cell["seed"]))
    common = {group: set.intersection(*lines.values()) for group, lines in measured.items()}
    return [cell for cell in cells if (cell["client"], cell["seed"]) in common[cell["setting"]["group"]]]


def finished_cells(
    digest: str, home: Path, seeds: Sequence[int], clients: Sequence[str]
) -> list[dict[str, Any]]:
    """What is measured so far, without measuring more."""
    cells = []
    for client, seed, setting in itertools.product(clients, seeds, settings()):
        path = _cell_path(home / "bench" / "study", digest, client, seed, setting)
        if path.exists():
            cells += _read_cells(path, client, seed, setting)
    return cells


def _cell_path(folder: Path, digest: str, client: str, seed: int, setting: Setting) -> Path:
    asked = {name: value for name, value in asdict(setting).items() if name != "group"}
    key = sha256_hex(canonical_json([VERSION, digest, client, seed, asked]))
    return folder / f"{key[:24]}.json"


def _read_cells(path: Path, client: str, seed: int, setting: Setting) -> list[dict[str, Any]]:
    names = {"setting": asdict(setting), "client": client, "seed": seed}
    found = json.loads(path.read_text())
    return [{**names, "budget": int(budget), "accuracy": value} for budget, value in found.items()]


def _job_cells(
    images: ImageSet, client: str, seed: int, chosen: Sequence[Setting], home: Path
) -> list[dict[str, Any]]:
    split = _Split(images, client, seed)
    cells = []
    for setting in chosen:
        path = _cell_path(home, images.digest, client, seed, setting)
        if not path.exists():
            found = split.measure(setting)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found))
        cells += _read_cells(path, client, seed, setting)
    return cells


class _Split:
    """One client and seed: its clusterings by number of clusters and pool."""

    def __init__(self, images: ImageSet, client: str, seed: int) -> None:
        self.images, self.client, self.seed = images, client, seed
        self._data: dict[tuple[str, int], JobData] = {}

    def data(self, pool: str, clusters: int) -> JobData:
        if (pool, clusters) not in self._data:
            grid = Grid(clients=(self.client,), clusters=clusters)
            self._data[pool, clusters] = JobData(self.images, Job(pool, self.client, self.seed), grid)
        return self._data[pool, clusters]

    def measure(self, setting: Setting) -> dict[int, float]:
        """Accuracy in [0, 1] by budget; the noise is seeded, since this is no release."""
        sigma = 0.0 if setting.epsilon is None else planned_sigma(setting.epsilon, DELTA)
        records = len(self.data(setting.pool, 10).client)
        clusters = setting.clusters or auto_clusters(records, sigma, len(self.data(setting.pool, 10).lake))
        data = self.data(setting.pool, clusters)
        selection = self.select(data, setting, sigma, np.random.default_rng([self.seed, clusters]))
        rows = data.rows_of(selection.sample_id)
        return {budget: data.accuracy(rows[:budget]) for budget in setting.budgets}

    def select(self, data: JobData, setting: Setting, sigma: float, rng: np.random.Generator) -> Selection:
        budget, config = max(setting.budgets), setting.config()
        if setting.scheme in ("random", "k_center"):
            return SAMPLERS[setting.scheme](data.pool, budget, scores=None, config=config, seed=self.seed)
        pool = data.pool
        if setting.scheme == "histogram":
            scores = histogram(data.votes, len(pool.cluster_sizes), sigma, rng)
        elif setting.scheme == "two rounds":
            pool, scores = self._two_rounds(data, sigma, rng)
        else:
            query = moment_query(pool, int(setting.scheme.split()[1]))
            answer = query.encode(data.images.features[data.client]).sum(axis=0)
            noise = np.rint(rng.normal(0, sigma * INTEGER_SCALE, len(answer))).astype(np.int64)
            scores = scores_from_moments(pool, query, answer + noise, sigma)
        return SAMPLERS["ecos"](pool, budget, scores=scores, config=config, seed=self.seed)

    def _two_rounds(self, data: JobData, sigma: float, rng: np.random.Generator) -> tuple[Any, Scores]:
        from ecos_core.clustering.assignment import nearest

        each = sigma_of_each_round(sigma, 2)
        first = histogram(data.votes, len(data.pool.cluster_sizes), each, rng)
        count = auto_clusters(len(data.client), each, len(data.lake))
        pool = refine(data.pool, first, SamplerConfig(), clusters=count, seed=self.seed)
        votes = nearest(data.images.features[data.client], pool.centroids)[0]
        return pool, histogram(votes, len(pool.centroids), each, rng)


def histogram(votes: Any, clusters: int, sigma: float, rng: np.random.Generator) -> Scores:
    """Counts with rounded Gaussian noise (a study needs seeds; a release has none)."""
    counts = np.bincount(votes, minlength=clusters)
    return Scores(np.rint(counts + sigma * rng.normal(size=clusters)).astype(np.int64), sigma)


def auto_clusters(records: int, sigma: float, images: int) -> int:
    """R with records / (R sigma) = ``AUTO_RATIO``, from 10 to one cluster for 20 images."""
    most = images // 20
    return most if sigma == 0 else min(max(round(records / (AUTO_RATIO * sigma)), 10), most)


def proximity_rows(
    images: ImageSet, seeds: Sequence[int], clients: Sequence[str], draws: int = 3
) -> list[dict[str, Any]]:
    """The label-free grid: total variation between the client's true and estimated shares, in [0, 1]."""
    found: dict[tuple[int, float | None, str], list[float]] = {}
    for seed in seeds:
        for client in clients:
            split = _Split(images, client, seed)
            for clusters in CLUSTERS:
                data = split.data("id+ood", clusters)
                true = np.bincount(data.votes, minlength=clusters) / len(data.votes)
                for epsilon in EPSILONS[:-1]:
                    sigma = planned_sigma(epsilon, DELTA) if epsilon else 0.0
                    for draw in range(draws):
                        rng = np.random.default_rng([seed, clusters, draw])
                        scores = histogram(data.votes, clusters, sigma, rng)
                        for method in ("empirical_bayes", "clip", "threshold", "lake_prior", "simplex"):
                            config = SamplerConfig.model_validate({"denoise": method})
                            estimate = denoised(data.pool, scores, config)
                            shares = estimate / estimate.sum() if estimate.sum() > 0 else true * 0
                            distance = 0.5 * float(np.abs(shares - true).sum())
                            found.setdefault((clusters, epsilon, method), []).append(distance)
    return [
        {"clusters": r, "epsilon": e, "denoise": m, "total_variation": round(float(np.mean(v)), 4)}
        for (r, e, m), v in found.items()
    ]
