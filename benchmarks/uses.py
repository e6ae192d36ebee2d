"""What a selection is used for: what ECOS picks is also better to train on further, better to distil on, and
easier for the client to label privately, than random picks.

On the pictures of ``pacs``, ``digits`` or ``domainnet``, pool ``id+ood``, beside the linear probe's table, which is
a use too. Each other use has a module of its own: ``compression``, ``client_labelling`` and ``tuning``
(``fine_tune``, ``fixmatch``). Finished cells are kept, so a run that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import client_labelling, compression, tuning
from benchmarks.accuracy import default_home, make_grid, measure_table, quick_grid
from benchmarks.accuracy_tables import use_tables
from benchmarks.grid import FREE, Grid, ImageSet, Job, JobData
from benchmarks.images import PictureSet
from ecos_core.errors import InputError
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, canonical_json, sha256_hex
from ecos_core.training.evaluation import spread

TABLE_USES = ("linear_probe",)
TUNED = ("fine_tune", "fixmatch")
COMPARED = ("ecos", *FREE)
USES = (*TABLE_USES, "compression", "client_labels", *TUNED)
VERSION = 4
KEY = ("use", "method", "sampler", "budget", "epsilon")
Rows = list[dict[str, Any]]


def measure(
    name: str,
    pictures: PictureSet,
    *,
    uses: tuple[str, ...],
    image_size: int,
    samplers: tuple[str, ...],
    quick: bool,
    out: Path,
    home: Path,
    mlflow_uri: str,
    workers: int,
    progress: ProgressSink,
    **settings: Any,
) -> dict[str, Any]:
    """The linear probe's table as ``accuracy.measure_table`` gives it, and files ``OUT/USE.{json,md,tex}`` for each
    other use, whose rows {use, method, client, sampler, budget, epsilon, accuracy_mean, accuracy_std, seeds, …} come
    after the table's.

    The other uses compare ``ecos`` and the samplers that ask no client. ``fine_tune`` and ``fixmatch`` take minutes
    a cell on a CPU. ``quick``: one client, one seed. Raises InputError for a use that is none.
    """
    if unknown := sorted(set(uses) - set(USES)):
        raise InputError(f"benchmark {name}: {', '.join(unknown)} is none of the uses {', '.join(USES)}")
    home = default_home() if home == Path() else home
    out = home / "bench" / name if out == Path() else out
    result: dict[str, Any] = {"rows": [], "results": str(out)}
    if set(TABLE_USES) & set(uses):
        result = measure_table(
            name,
            pictures,
            image_size=image_size,
            samplers=samplers,
            quick=quick,
            out=out,
            home=home,
            mlflow_uri=mlflow_uri,
            workers=workers,
            progress=progress,
            **settings,
        )
    others = [use for use in USES if use in uses and use not in TABLE_USES]
    if not others:
        return result
    grid = make_grid(**settings)
    data_set = DataSet(pictures, home, image_size, progress)
    compared = tuple(sampler for sampler in samplers if sampler in COMPARED)
    grid = quick_grid(grid) if quick else grid
    rows, tables = further_uses(data_set, grid, others, compared, out, progress)
    texts = [str(result["text"]), tables] if "text" in result else [tables]
    return {**result, "rows": [*result["rows"], *rows], "text": "\n".join(texts)}


def further_uses(
    data_set: DataSet,
    grid: Grid,
    uses: Sequence[str],
    samplers: tuple[str, ...],
    out: Path,
    progress: ProgressSink = silent,
) -> tuple[Rows, str]:
    """The rows and the Markdown tables of the uses, each kept as ``OUT/USE.{json,md,tex}``."""
    rows: Rows = []
    texts: list[str] = []
    for use in uses:
        found = summarise(_measure(data_set, grid, use, samplers, progress))
        result: dict[str, Any] = {"name": use, "grid": grid.model_dump(mode="json"), "rows": found}
        if use == "compression":
            result["costs"] = compression.costs(data_set.image_size, len(np.unique(data_set.images.labels)))
        text, latex = use_tables(use, found, grid)
        Location.of(out / f"{use}.json").write_bytes(json.dumps(result, indent=1, allow_nan=False).encode())
        Location.of(out / f"{use}.md").write_bytes(text.encode())
        Location.of(out / f"{use}.tex").write_bytes(latex.encode())
        rows += found
        texts.append(text)
    return rows, "\n".join(texts)


class DataSet:
    """A data set of pictures: its features, its files, and the student's features, each made when first needed."""

    def __init__(self, source: PictureSet, home: Path, image_size: int, progress: ProgressSink) -> None:
        self.source, self.home, self.image_size, self.progress = source, home, image_size, progress
        self.images = ImageSet.load(source.features(home, image_size=image_size, progress=progress))

    @cached_property
    def pictures(self) -> tuning.Pictures:
        files = self.source.read(self.home)
        return tuning.Pictures({sha256_hex(content): content for _, _, content in files}, self.image_size)

    @cached_property
    def student(self) -> ImageSet:
        path = compression.student_file(
            self.source.name, self.images, self.pictures.contents, self.home, self.image_size, self.progress
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
        split = [use, data.job.client, data.job.seed]
        asked = [VERSION, data.images.digest, data_set.image_size, *split, grid.epsilon, *what]
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
    home = data_set.home / "bench" / "tuning" / data_set.source.name
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
