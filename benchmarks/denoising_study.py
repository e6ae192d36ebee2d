"""Study: how to turn noisy scores into a selection. Its results are what the samplers' defaults rest on.

PACS, each domain in turn the client, epsilon of one release at delta 1e-5 (add/remove): clusters, denoising,
weighting, choice inside a cluster, budgets up to 5,000. The noise is discrete Gaussian, as a client's. Accuracy is a
linear probe's on the client's test images. Finished cells are kept, so a run that was stopped goes on; several may
run at once, by seeds.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import default_home
from benchmarks.grid import Grid, ImageSet, Job, JobData, planned_sigma
from benchmarks.pacs import DOMAINS, prepare
from ecos_core.clustering.auto import choose_clusters
from ecos_core.privacy.planner import SIGNAL_TO_NOISE
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.sampling.denoising import DENOISE_METHODS
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores, Selection
from ecos_core.storage import canonical_json, sha256_hex

DELTA = 1e-5
EPSILONS = (0.08, 0.1, 0.14, 0.22, 0.582, 1.2, None)
CLUSTERS = (10, 50, 100, 200, 300, 1000)
BUDGETS = (100, 300)
LARGE_BUDGETS = (1000, 2000, 5000)
VERSION = 2


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
    diversity: str = "facility"
    pool: str = "id+ood"
    budgets: tuple[int, ...] = BUDGETS

    def config(self) -> SamplerConfig:
        names = ("denoise", "power", "diversity")
        return SamplerConfig.model_validate({name: getattr(self, name) for name in names})


def settings() -> Iterator[Setting]:
    """All lines, the most telling first. Lines of the defaults are measured once, whatever their group."""
    three, two = (0.1, 0.582, None), (0.1, 0.582)
    yield from (Setting("epsilon", epsilon) for epsilon in EPSILONS)
    for epsilon in three:
        yield from (Setting("choice", epsilon, diversity=choice) for choice in ("facility", "k_center"))
    for epsilon in three:
        yield from (Setting("clusters", epsilon, clusters) for clusters in (*CLUSTERS, None))
    for epsilon in two:
        yield from (Setting("denoising", epsilon, denoise=rule) for rule in DENOISE_METHODS)
    for epsilon in two:
        yield from (Setting("100 clusters", epsilon, 100, denoise=rule) for rule in DENOISE_METHODS)
    for epsilon in three:
        yield from (Setting("power", epsilon, power=power) for power in (1.0, 0.75, 0.5))
    yield from (Setting("larger budgets", epsilon, budgets=LARGE_BUDGETS) for epsilon in three)
    for sampler in ("random", "k_center"):
        yield Setting("larger budgets", None, 100, scheme=sampler, budgets=LARGE_BUDGETS)
    for epsilon in three:
        yield Setting("no image in the lake", epsilon, pool="ood")
    for sampler in ("random", "k_center"):
        yield Setting("no image in the lake", None, 100, scheme=sampler, pool="ood")


def run(
    data_root: Path,
    *,
    quick: bool = False,
    seeds: tuple[int, ...] = (1, 2, 3),
    clients: tuple[str, ...] = DOMAINS,
    home: Path = Path(),
    progress: ProgressSink = silent,
) -> list[dict[str, Any]]:
    """Rows of the study: a setting, and a budget's mean accuracy in per cent over clients and seeds."""
    home = default_home() if home == Path() else home
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
    if setting.clusters is None and setting.epsilon is not None:
        asked["signal_to_noise"] = SIGNAL_TO_NOISE
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
        clusters = setting.clusters or choose_clusters(len(self.data(setting.pool, 10).lake), records, sigma)
        data = self.data(setting.pool, clusters)
        selection = self.select(data, setting, sigma, np.random.default_rng([self.seed, clusters]))
        rows = data.rows_of(selection.sample_id)
        return {budget: data.accuracy(rows[:budget]) for budget in setting.budgets}

    def select(self, data: JobData, setting: Setting, sigma: float, rng: np.random.Generator) -> Selection:
        budget, config = max(setting.budgets), setting.config()
        if setting.scheme in ("random", "k_center"):
            return SAMPLERS[setting.scheme](data.pool, budget, scores=None, config=config, seed=self.seed)
        scores = histogram(data.votes, len(data.pool.cluster_sizes), sigma, rng)
        return SAMPLERS["ecos"](data.pool, budget, scores=scores, config=config, seed=self.seed)


def histogram(votes: Any, clusters: int, sigma: float, rng: np.random.Generator) -> Scores:
    """Counts with seeded discrete Gaussian noise (a study needs seeds; a release has none)."""
    return Scores(np.bincount(votes, minlength=clusters) + discrete_noise(clusters, sigma, rng), sigma)


def discrete_noise(count: int, sigma: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Seeded draws of the discrete Gaussian, int64 [count]: by its probabilities, cut where they are below
    1e-30; in floating point, which is good enough for a study and for nothing that is released."""
    if sigma == 0:
        return np.zeros(count, np.int64)
    reach = math.ceil(12 * sigma) + 1
    values = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (values / sigma) ** 2)
    return rng.choice(values, count, p=weights / weights.sum()).astype(np.int64)
