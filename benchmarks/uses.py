"""Claim: what ECOS picks is also better to train on further, better to distil on, and easier for the client
to label privately, than random picks.

On PACS at 128 px, pool ``id+ood``, beside the table of ``pacs``. Each use has a module of its own:
``compression``, ``client_labelling`` and ``tuning`` (``fine_tune``, ``fixmatch``). Finished cells are kept,
so a run that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import client_labelling, compression, pacs, tuning
from benchmarks.accuracy import default_home
from benchmarks.grid import Grid, ImageSet, Job, JobData
from benchmarks.images import read_tar, read_tree
from ecos_core.errors import InputError
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, canonical_json, sha256_hex
from ecos_core.training.evaluation import spread

SAMPLERS = ("ecos", "random", "k_center")
TUNED = ("fine_tune", "fixmatch")
USES = ("compression", "client_labels", *TUNED)
IMAGE_SIZE = 128
VERSION = 3
KEY = ("use", "method", "sampler", "budget", "epsilon")
Rows = list[dict[str, Any]]


def run(
    data_root: Path | None = None,
    *,
    uses: tuple[str, ...] = ("compression", "client_labels"),
    clients: tuple[str, ...] = pacs.DOMAINS,
    budgets: tuple[int, ...] = (300, 1000),
    samplers: tuple[str, ...] = SAMPLERS,
    seeds: tuple[int, ...] = (1, 2, 3),
    epsilon: float = 0.582,
    clusters: int = 100,
    quick: bool = False,
    out: Path = Path(),
    home: Path = Path(),
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Rows {use, method, client, sampler, budget, epsilon, accuracy_mean, accuracy_std, seeds, …}, one file a
    use.

    ``fine_tune`` and ``fixmatch`` take minutes a cell on a CPU. ``quick``: one client, one seed. Raises
    InputError where PACS is not.
    """
    home = default_home() if home == Path() else home
    clients, seeds = (clients[:1], seeds[:1]) if quick else (clients, seeds)
    if unknown := sorted(set(uses) - set(USES)):
        raise InputError(f"benchmark uses: {', '.join(unknown)} is none of {', '.join(USES)}")
    data_set = DataSet(data_root, home, progress)
    grid = Grid(clients=clients, budgets=budgets, seeds=seeds, epsilon=epsilon, clusters=clusters)
    out = home / "bench" / "uses" if out == Path() else out
    rows: Rows = []
    for use in uses:
        cells = _measure(data_set, grid, use, samplers, progress)
        found = summarise(cells)
        result: dict[str, Any] = {"name": use, "grid": grid.model_dump(mode="json"), "rows": found}
        if use == "compression":
            result["costs"] = compression.costs(IMAGE_SIZE, len(np.unique(data_set.images.labels)))
        Location.of(out / f"{use}.json").write_bytes(json.dumps(result, indent=1, allow_nan=False).encode())
        rows += found
    return {"rows": rows, "results": str(out)}


class DataSet:
    """PACS: its features, its files, and the student's features, each made when first needed."""

    def __init__(self, data_root: Path | None, home: Path, progress: ProgressSink) -> None:
        self.data_root, self.home, self.progress = data_root, home, progress
        self.images = ImageSet.load(pacs.prepare(data_root, home, image_size=IMAGE_SIZE, progress=progress))

    @cached_property
    def pictures(self) -> tuning.Pictures:
        source = pacs.find(self.data_root or Path())
        files = read_tree(source, pacs.DOMAINS) if source.is_dir() else read_tar(source)
        return tuning.Pictures({sha256_hex(content): content for _, _, content in files}, IMAGE_SIZE)

    @cached_property
    def student(self) -> ImageSet:
        path = compression.student_file(
            "pacs", self.images, self.pictures.contents, self.home, IMAGE_SIZE, self.progress
        )
        return ImageSet.load(path)


def _measure(
    data_set: DataSet, grid: Grid, use: str, samplers: tuple[str, ...], progress: ProgressSink
) -> Rows:
    """All cells of one use; those of the first seed come first."""
    jobs = [Job("id+ood", client, seed) for seed in grid.seeds for client in grid.clients]
    cells: Rows = []
    for done, job in enumerate(jobs):
        progress(Progress(use, done, len(jobs), "splits"))
        data = JobData(data_set.images, job, grid)
        names = {"use": use, "client": job.client, "seed": job.seed}
        cells += [names | row for row in _job_rows(data_set, data, use, samplers)]
    progress(Progress(use, len(jobs), len(jobs), "splits"))
    return cells


def _job_rows(data_set: DataSet, data: JobData, use: str, samplers: tuple[str, ...]) -> Rows:
    grid, store = data.grid, data_set.home / "bench" / "uses" / "cells"

    def kept(what: list[Any], measure: Callable[[], Rows]) -> Rows:
        asked = [VERSION, data.images.digest, use, data.job.client, data.job.seed, grid.epsilon, *what]
        return _kept(store / f"{sha256_hex(canonical_json([*asked, grid.clusters]))[:32]}.json", measure)

    if use == "compression":
        asked = [samplers, grid.budgets]
        return kept(asked, lambda: compression.measure(data, data_set.student, samplers))
    if use == "client_labels":
        return kept([samplers], lambda: client_labelling.measure(data, samplers))
    rows: Rows = []
    for budget in grid.budgets:
        for sampler in samplers:
            rows += kept([sampler, budget], lambda s=sampler, b=budget: _tuned(data_set, data, use, s, b))  # type: ignore[misc]
    return rows


def _tuned(data_set: DataSet, data: JobData, use: str, sampler: str, budget: int) -> Rows:
    home = data_set.home / "bench" / "tuning"
    figures = tuning.measure(data, data_set.pictures, use, sampler, budget, home)
    return [{"sampler": sampler, "budget": budget, **figures}]


def _kept(path: Path, measure: Callable[[], Rows]) -> Rows:
    """What is in the file; measured and written first where there is none."""
    if not path.exists():
        Location.of(path).write_bytes(json.dumps(measure(), indent=1, allow_nan=False).encode())
    rows: Rows = json.loads(path.read_text())
    return rows


def summarise(cells: Sequence[dict[str, Any]]) -> Rows:
    """One row for each use, method, sampler, budget and epsilon: each client's mean over the seeds, then the
    clients' average with its spread over the seeds (those that every client has)."""
    keys = dict.fromkeys(tuple(cell.get(name) for name in KEY) for cell in cells)
    rows = []
    for key in keys:
        group = [cell for cell in cells if tuple(cell.get(name) for name in KEY) == key]
        clients = list(dict.fromkeys(cell["client"] for cell in group))
        shared = set.intersection(*({c["seed"] for c in group if c["client"] == name} for name in clients))
        for client in (*clients, "average"):
            mine = [c for c in group if client in (c["client"], "average") and c["seed"] in shared]
            rows.append({**dict(zip(KEY, key, strict=True)), "client": client, **_figures(mine)})
    return rows


def _figures(cells: Rows) -> dict[str, Any]:
    seeds = sorted({cell["seed"] for cell in cells})

    def of_seeds(name: str) -> list[float]:
        return [float(np.mean([c[name] for c in cells if c["seed"] == seed])) for seed in seeds]

    accuracy = spread(of_seeds("accuracy"))
    figures = {"accuracy_mean": accuracy.mean, "accuracy_std": accuracy.std, "seeds": seeds}
    for name in ("label_accuracy", "probe_accuracy", "pseudo_labelled", "seconds"):
        if cells[0].get(name) is not None:
            figures[name] = float(np.mean(of_seeds(name)))
    return figures
