"""The whole pipeline on data that are no images, one job after the other, nothing simulated.

A job is a client domain and a seed: the domain is split (40 % the client's, 20 % the test set, the rest in the lake
with all other domains), the lake is ingested, indexed and clustered by the code that serves images, a client in a
process of its own answers one request over HTTP at the stated epsilon, and a linear probe is trained on the picks.
A modality brings what ``Collection`` names: how its samples are written to disk, a layout and an extractor.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import default_home, make_grid, publish, quick_grid
from benchmarks.grid import Cell, Grid, Job, cell_key, jobs_of
from ecos_core.features.extractor import Engine, Extractor
from ecos_core.privacy.planner import SIGNAL_TO_NOISE
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, canonical_json, sha256_hex

SAMPLERS = ("ecos", "random", "k_center", "whole_lake", "local")
CLIENT_LIMIT = 2.0


@dataclass(frozen=True)
class Sample:
    """One sample: its domain, its label and its bytes, as the lake keeps them. ``cells``: of a row of a table."""

    domain: str
    label: str
    data: bytes
    cells: dict[str, str] | None = None

    @cached_property
    def key(self) -> str:
        return sha256_hex(self.data)


@dataclass(frozen=True)
class Collection:
    """Labelled samples of several domains, and how they are brought in. Of equal contents the first stays.

    ``write(samples, folder)`` writes them to disk and returns what ``ecos ingest``, ``ecos client init`` and
    ``ecos train --test`` are given.
    """

    name: str
    samples: tuple[Sample, ...]
    layout: str
    extractor: str
    licence: str
    write: Callable[[Sequence[Sample], Path], Path]

    @classmethod
    def of(cls, samples: Sequence[Sample], **facts: Any) -> Collection:
        first = {sample.key: sample for sample in reversed(samples)}
        return cls(samples=tuple(first[key] for key in sorted(first)), **facts)

    @cached_property
    def digest(self) -> str:
        rows = [[sample.key, sample.domain, sample.label] for sample in self.samples]
        return sha256_hex(canonical_json([self.layout, self.extractor, rows]))


class MemoEngine:
    """Remembers what the network answered: the samples of one job are mostly those of the next."""

    parallel = True

    def __init__(self, engine: Engine, path: Path) -> None:
        self.name, self.device, self.dimension = engine.name, engine.device, engine.dimension
        self._engine, self._path = engine, path
        self._known: dict[bytes, NDArray[np.float32]] = {}
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                self._known = dict(zip(map(bytes, kept["keys"]), kept["features"], strict=True))

    def run(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        keys = [bytes.fromhex(sha256_hex(row.tobytes())) for row in prepared]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            answers = self._engine.run(prepared[new])
            self._known |= {keys[place]: answer for place, answer in zip(new, answers, strict=True)}
        return np.stack([self._known[key] for key in keys])

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        keys = np.array([np.frombuffer(key, np.uint8) for key in self._known])
        np.savez(self._path.with_suffix(".tmp.npz"), keys=keys, features=np.stack(list(self._known.values())))
        self._path.with_suffix(".tmp.npz").replace(self._path)


def run_collection(
    collection: Collection,
    *,
    clients: tuple[str, ...],
    budgets: tuple[int, ...],
    samplers: tuple[str, ...],
    seeds: tuple[int, ...],
    epsilon: float,
    quick: bool,
    out: Path,
    home: Path,
    mlflow_uri: str,
    c: float = 0.01,
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Measure what is missing and write tables, plots and MLflow runs as ``ecos bench pacs`` does."""
    home = default_home() if home == Path() else home
    settings: dict[str, Any] = {"clients": clients, "budgets": budgets, "samplers": samplers, "seeds": seeds}
    grid = make_grid(pools=("id+ood",), epsilon=epsilon, draws=1, c=c, **settings)
    grid = quick_grid(grid) if quick else grid
    cells: list[Cell] = []
    jobs = jobs_of(grid)
    for done, job in enumerate(jobs):
        progress(Progress("benchmark", done, len(jobs), "splits"))
        cells += kept_cells(collection, grid, job, home)
    progress(Progress("benchmark", len(jobs), len(jobs), "splits"))
    return publish(
        collection.name,
        cells,
        grid,
        collection.digest,
        home=home,
        out=out,
        mlflow_uri=mlflow_uri,
        progress=progress,
    )


def kept_cells(collection: Collection, grid: Grid, job: Job, home: Path) -> list[Cell]:
    """The cells of one job, measured once."""
    asked = f"{collection.digest} signal to noise {SIGNAL_TO_NOISE}"
    key = cell_key(grid, asked, job, ",".join(grid.samplers))
    where = home / "bench" / "cells" / f"{key}.json"
    if not where.exists():
        with tempfile.TemporaryDirectory(prefix="ecos-bench-") as scratch:
            cells = measure(collection, grid, job, Path(scratch), home)
        Location.of(where).write_bytes(json.dumps([asdict(cell) for cell in cells], allow_nan=False).encode())
    rows = json.loads(where.read_text())
    return [Cell(**{**row, "accuracies": tuple(row["accuracies"])}) for row in rows]


def measure(collection: Collection, grid: Grid, job: Job, folder: Path, home: Path) -> list[Cell]:
    """Every sampler and budget of one job, through the stages that a user's own run goes through."""
    from ecos_core.config import ClientConfig, PrivacyConfig
    from ecos_core.stages.scoring import planned, request_scores

    parts = split(collection, job)
    lake, extractor = make_lake(collection, parts["lake"], folder, home)
    privacy = PrivacyConfig(epsilon=grid.epsilon, delta=grid.delta)
    clustering = cluster(lake, extractor, len(parts["client"]), planned(privacy).sigma, job.seed)
    client = make_client(collection.write(parts["client"], folder / "private"), extractor, folder / "client")
    with serving(client) as url:
        asked = ClientConfig(name=job.client, url=url, token_file=str(client / "token"))
        scored = request_scores(lake, clustering, asked, privacy, lake.folder("scores"))
    account = scored.account
    test = collection.write(parts["test"], folder / "test")
    cells = []
    for sampler in grid.samplers:
        if sampler == "local":
            accuracy = local_accuracy(client, extractor, parts["test"], grid.c)
            cells.append(
                Cell(job.pool, job.client, job.seed, sampler, len(parts["client"]), None, None, (accuracy,))
            )
            continue
        epsilon, sigma = (account.epsilon, account.sigma) if account and sampler == "ecos" else (0.0, None)
        budgets = [clustering.rows] if sampler == "whole_lake" else grid.budgets
        for budget, accuracy in trained(
            lake, clustering, sampler, scored.folder, budgets, test, grid, job, folder
        ):
            bound = None if sampler == "whole_lake" else epsilon
            cells.append(Cell(job.pool, job.client, job.seed, sampler, budget, bound, sigma, (accuracy,)))
    return cells


def split(collection: Collection, job: Job) -> dict[str, list[Sample]]:
    """The client's, the test set's and the lake's samples."""
    from ecos_core.lake.splits import split_domain

    by_key = {sample.key: sample for sample in collection.samples}
    mine = [(sample.key, sample.label) for sample in collection.samples if sample.domain == job.client]
    drawn = split_domain(mine, 0.4, 0.2, seed=job.seed)
    parts = {name: [by_key[key] for key in getattr(drawn, name)] for name in ("client", "test", "lake")}
    parts["lake"] += [sample for sample in collection.samples if sample.domain != job.client]
    return parts


def make_lake(
    collection: Collection, samples: Sequence[Sample], folder: Path, home: Path
) -> tuple[Any, Extractor]:
    """Ingest and extract. Returns the lake and its extractor."""
    from ecos_core.features.extraction import extract_lake
    from ecos_core.features.lake_extractor import extractor_for_lake
    from ecos_core.lake.ingest import ingest
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.sources import open_source

    lake = Lake.create(folder / "lake")
    source = open_source(
        collection.write(samples, folder / "open"), collection.name, layout=collection.layout
    )
    ingest(source, lake, licence=collection.licence)
    extractor = extractor_for_lake(lake, collection.extractor)
    if extractor.engine.name != "columns":
        memory = MemoEngine(
            extractor.engine, home / "bench" / "features" / f"memo-{extractor.fingerprint[:16]}.npz"
        )
        extractor = dataclasses.replace(extractor, engine=memory)
        extract_lake(lake, extractor)
        memory.save()
    else:
        extract_lake(lake, extractor)
    return lake, extractor


def cluster(lake: Any, extractor: Extractor, records: int, sigma: float, seed: int) -> Any:
    """R from the noise and the records that the client states: their number, to one digit."""
    from ecos_core.clustering.auto import choose_clusters
    from ecos_core.clustering.clustering import cluster_lake
    from ecos_core.features.feature_set import FeatureSet

    features = FeatureSet.open(lake, extractor.fingerprint)
    stated = int(float(f"{records:.0e}"))
    return cluster_lake(lake, features, clusters=choose_clusters(features.rows, stated, sigma), seed=seed)


def make_client(images: Path, extractor: Extractor, home: Path) -> Path:
    """A client's home with its own key, ledger and features."""
    from ecos_core.client.home import init_home
    from ecos_core.client.policy import Policy

    policy = Policy(epsilon=CLIENT_LIMIT, delta=1e-5, answer_after_seconds=0.1, minimum_records=10)
    init_home(home, policy, images=images, extractors=[extractor])
    return home


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """`ecos client serve` in a process of its own; yields its address."""
    from ecos_cli.local_services import LOOPBACK, free_port, python, running

    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = python("ecos_cli.main", "client", "serve", "--home", str(home), "--port", str(port))
    where = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    with running(
        "the client", command, url=url, health="/v1/health", log=home.parent / "serve.log", environment=where
    ):
        yield url


def trained(
    lake: Any,
    clustering: Any,
    sampler: str,
    scores: Location,
    budgets: Sequence[int],
    test: Path,
    grid: Grid,
    job: Job,
    folder: Path,
) -> Iterator[tuple[int, float]]:
    """(budget, accuracy) of probes on the prefixes of one selection."""
    from ecos_core.sampling.config import SamplerConfig
    from ecos_core.stages.selecting import Choice, Selecting
    from ecos_core.training.config import TrainConfig
    from ecos_core.training.train import train_selection

    name = "random" if sampler == "whole_lake" else sampler
    usable = [budget for budget in budgets if budget <= clustering.rows]
    choice = Choice(max(usable), name, SamplerConfig(allow_fewer=True), job.seed)
    where = Location.of(folder / "selections" / sampler)
    selection = Selecting(lake, clustering, choice, where).select(scores if sampler == "ecos" else None)
    for budget in usable:
        config = TrainConfig(budget=budget, seeds=(job.seed,), c=grid.c)
        result = train_selection(
            selection.folder,
            lake.location,
            folder / "models" / f"{sampler}-{budget}",
            test=test,
            config=config,
        )
        yield budget, result.metrics["accuracy_mean"]


def local_accuracy(home: Path, extractor: Extractor, test: Sequence[Sample], c: float) -> float:
    """Of a probe on the client's own labels, which nobody else may see: a reference only."""
    from ecos_core.client.home import open_home
    from ecos_core.training.evaluation import evaluate
    from ecos_core.training.linear_probe import train_linear_probe

    mine = open_home(home).features(extractor.fingerprint)
    probe = train_linear_probe(mine.features, [str(label) for label in mine.labels], c=c)
    answers = probe.predict_proba(extractor.extract([sample.data for sample in test]))
    return evaluate(answers, [sample.label for sample in test], probe.classes).accuracy
