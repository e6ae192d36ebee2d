"""Run a grid: in parallel within the cores given, one small file a finished sampler of a job, so that it
resumes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.grid import Cell, Grid, ImageSet, Job, JobData, cell_key, jobs_of, run_sampler
from ecos_core.errors import InputError
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location


def run_grid(
    features: Path, grid: Grid, store: Path, *, workers: int = 1, progress: ProgressSink = silent
) -> list[Cell]:
    """All cells of the grid over the ``ImageSet`` file ``features``. Finished ones are read from ``store``.

    Raises InputError when a client domain is not in the data.
    """
    images = ImageSet.load(features)
    unknown = sorted(set(grid.clients) - set(images.domains.tolist()))
    if unknown:
        known = ", ".join(sorted(set(images.domains.tolist())))
        raise InputError(f"client domain(s) {', '.join(unknown)} are not in the data; it has {known}")
    missing = {job: _missing(grid, images.digest, job, store) for job in jobs_of(grid)}
    todo = {job: samplers for job, samplers in missing.items() if samplers}
    done, total = len(missing) - len(todo), len(missing)
    progress(Progress("benchmark", done, total, "splits"))
    for _ in _map_jobs(features, grid, store, todo, workers):
        done += 1
        progress(Progress("benchmark", done, total, "splits"))
    return [
        cell
        for job in missing
        for sampler in grid.samplers
        for cell in _read(grid, images.digest, job, sampler, store)
    ]


def _map_jobs(
    features: Path, grid: Grid, store: Path, todo: dict[Job, list[str]], workers: int
) -> Iterable[None]:
    """One yield a finished job. Workers are spawned with one thread each; one worker stays in this
    process.
    """
    calls: list[tuple[Job, list[str]]] = list(todo.items())
    if workers <= 1:
        for job, samplers in calls:
            run_job(features, grid, job, samplers, store)
            yield
        return
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            futures: set[Future[None]] = {
                executor.submit(run_job, features, grid, job, samplers, store) for job, samplers in calls
            }
            while futures:
                finished, futures = wait(futures, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    yield
    finally:
        for name, value in threads.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def run_job(features: Path, grid: Grid, job: Job, samplers: list[str], store: Path) -> None:
    """Measure some samplers of one job and write each as soon as it is known."""
    from threadpoolctl import threadpool_limits

    images = ImageSet.load(features)
    data = JobData(images, job, grid)
    with threadpool_limits(1):
        for sampler in samplers:
            cells = [asdict(cell) for cell in run_sampler(data, sampler)]
            path = _path(store, grid, images.digest, job, sampler)
            Location.of(path).write_bytes(json.dumps(cells, indent=1, allow_nan=False).encode())


def _path(store: Path, grid: Grid, digest: str, job: Job, sampler: str) -> Path:
    return store / f"{cell_key(grid, digest, job, sampler)}.json"


def _missing(grid: Grid, digest: str, job: Job, store: Path) -> list[str]:
    return [name for name in grid.samplers if not _path(store, grid, digest, job, name).exists()]


def _read(grid: Grid, digest: str, job: Job, sampler: str, store: Path) -> list[Cell]:
    rows: list[dict[str, Any]] = json.loads(_path(store, grid, digest, job, sampler).read_text())
    return [Cell(**{**row, "accuracies": tuple(row["accuracies"])}) for row in rows]
