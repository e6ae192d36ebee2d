"""Claim: what ECOS picks is also better to distil on, and easier for the client to label privately, than
random picks.

On PACS at 128 px, pool ``id+ood``, beside the table of ``pacs``:

* ``compression``: the teacher is the probe on the whole labelled lake; the student (the first eleven of
the sixteen blocks of the backbone, 112 numbers) learns a head on the selection only, from the teacher's
softened answers and the labels. Its body stays frozen, so that a cell takes a second on a CPU. *
``client_labels``: nobody labels the lake. One release of the client, its class-by-cluster histogram at
``epsilon``, gives both the scores (sums over the classes) and a label for every cluster; the probe is
trained on those labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import pacs
from benchmarks.accuracy import default_home
from benchmarks.grid import Grid, ImageSet, Job, JobData, planned_sigma, select
from ecos_core.errors import InputError
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location
from ecos_core.training.evaluation import spread
from ecos_core.training.linear_probe import LinearProbe, train_linear_probe

SAMPLERS = ("ecos", "random", "k_center")
USES = ("compression", "client_labels")
IMAGE_SIZE = 128
TEMPERATURE = 4.0
ALPHA = 0.7
STUDENT_C = 0.1


def run(
    data_root: Path | None = None,
    *,
    uses: tuple[str, ...] = USES,
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
    """Rows {use, client, sampler, budget, epsilon, accuracy_mean, accuracy_std, label_accuracy, seeds}.

    ``label_accuracy``: share of right labels among the picks. ``quick``: one client, one seed. Raises
    InputError where PACS is not.
    """
    home = default_home() if home == Path() else home
    clients, seeds = (clients[:1], seeds[:1]) if quick else (clients, seeds)
    images = ImageSet.load(pacs.prepare(data_root, home, image_size=IMAGE_SIZE, progress=progress))
    if unknown := sorted(set(uses) - set(USES)):
        raise InputError(f"benchmark uses: {', '.join(unknown)} is none of {', '.join(USES)}")
    compressing = "compression" in uses
    student = ImageSet.load(student_file(data_root, home, images, progress)) if compressing else None
    grid = Grid(clients=clients, budgets=budgets, seeds=seeds, epsilon=epsilon, clusters=clusters)
    cells: list[dict[str, Any]] = []
    jobs = [Job("id+ood", client, seed) for client in clients for seed in seeds]
    for done, job in enumerate(jobs):
        progress(Progress("uses", done, len(jobs), "splits"))
        data = JobData(images, job, grid)
        cells += compression(data, student, samplers) if student is not None else []
        cells += client_labels(data, samplers) if "client_labels" in uses else []
    progress(Progress("uses", len(jobs), len(jobs), "splits"))
    rows = summarise(cells)
    where = (home / "bench" / "uses" if out == Path() else out) / "uses.json"
    result = {"name": "uses", "grid": grid.model_dump(mode="json"), "rows": rows}
    Location.of(where).write_bytes(json.dumps(result, indent=1, allow_nan=False).encode())
    return {"rows": rows, "results": str(where)}


def student_file(data_root: Path | None, home: Path, images: ImageSet, progress: ProgressSink) -> Path:
    """The student body's features of all images, made once."""
    import torch

    from benchmarks.images import read_tar, read_tree
    from ecos_core.features.extractor import load_extractor
    from ecos_core.storage import sha256_hex
    from ecos_core.training.network import build_student, features_of
    from ecos_core.training.pixels import decode_all

    path = home / "bench" / "features" / f"pacs-student-{images.digest[:16]}.npz"
    if path.exists():
        return path
    torch.set_num_threads(1)
    source = pacs.find(data_root or Path())
    files = read_tree(source, pacs.DOMAINS) if source.is_dir() else read_tar(source)
    contents = {sha256_hex(content): content for _, _, content in files}
    preprocessing = load_extractor(image_size=IMAGE_SIZE).preprocessing
    body = build_student("lite0_trimmed", IMAGE_SIZE)
    blocks = []
    for start in range(0, len(images.sample_ids), 256):
        part = [contents[str(key)] for key in images.sample_ids[start : start + 256]]
        blocks.append(features_of(body, decode_all(part, preprocessing), "cpu"))
        progress(Progress("student features", start, len(images.sample_ids), "images"))
    ImageSet(images.sample_ids, np.concatenate(blocks), images.labels, images.domains, images.digest).save(
        path
    )
    return path


def compression(data: JobData, student: ImageSet, samplers: Sequence[str]) -> list[dict[str, Any]]:
    """The student's accuracy for each sampler and budget, with the teacher's as a row of its own."""
    grid, images = data.grid, data.images
    teacher = train_linear_probe(images.features[data.lake], images.labels[data.lake], c=grid.c)
    rows = [_row(data, "compression", "teacher", None, teacher, images.features)]
    for sampler in samplers:
        sigma = planned_sigma(grid.epsilon, grid.delta) if sampler == "ecos" else None
        picked = data.rows_of(select(data, sampler, max(grid.budgets), sigma, seed=data.job.seed))
        for budget in grid.budgets:
            chosen = picked[:budget]
            head = distilled_head(
                student.features[chosen], images.labels[chosen], teacher, images.features[chosen]
            )
            rows.append(_row(data, "compression", sampler, budget, head, student.features))
    return rows


def distilled_head(
    features: NDArray[np.float32],
    labels: NDArray[np.str_],
    teacher: LinearProbe,
    teacher_features: NDArray[np.float32],
) -> LinearProbe:
    """Cross-entropy with alpha x softened answers + (1 - alpha) x labels: each sample once for each
    class, weighted.
    """
    from ecos_core.training.distil import soften

    soft = soften(teacher.predict_proba(teacher_features), TEMPERATURE)
    hard = (labels[:, None] == np.asarray(teacher.classes)[None, :]).astype(np.float32)
    weights = ALPHA * soft + (1 - ALPHA) * hard
    count = len(teacher.classes)
    return train_linear_probe(
        np.repeat(features, count, axis=0),
        np.tile(np.asarray(teacher.classes), len(features)),
        c=STUDENT_C,
        weights=weights.ravel(),
    )


def client_labels(data: JobData, samplers: Sequence[str]) -> list[dict[str, Any]]:
    """Train on labels that the client's noised class-by-cluster histogram gives."""
    from ecos_core.privacy.mechanisms import discrete_gaussian_noise
    from ecos_core.sampling.samplers import SAMPLERS as BY_NAME
    from ecos_core.sampling.samplers import SamplerConfig, Scores

    grid, images, job = data.grid, data.images, data.job
    sigma = planned_sigma(grid.epsilon, grid.delta)
    classes = np.unique(images.labels)
    counts = np.zeros((grid.clusters, len(classes)), np.int64)
    np.add.at(counts, (data.votes, np.searchsorted(classes, images.labels[data.client])), 1)
    noisy = counts + discrete_gaussian_noise(counts.size, sigma).reshape(counts.shape)
    scores = Scores(noisy.sum(axis=1), sigma * float(np.sqrt(len(classes))))
    rows = []
    for sampler in samplers:
        asked = scores if sampler == "ecos" else None
        selection = BY_NAME[sampler](
            data.pool, max(grid.budgets), scores=asked, config=SamplerConfig(), seed=job.seed
        )
        picked = data.rows_of(selection.sample_id)
        given = classes[noisy.argmax(axis=1)][selection.cluster]
        for budget in grid.budgets:
            chosen, labels = picked[:budget], given[:budget]
            probe = train_linear_probe(images.features[chosen], labels, c=grid.c)
            row = _row(data, "client_labels", sampler, budget, probe, images.features)
            rows.append(row | {"label_accuracy": float((labels == images.labels[chosen]).mean())})
    return rows


def _row(
    data: JobData,
    use: str,
    sampler: str,
    budget: int | None,
    model: LinearProbe,
    features: NDArray[np.float32],
) -> dict[str, Any]:
    right = model.predict(features[data.test]) == data.images.labels[data.test]
    asks = sampler == "ecos" or use == "client_labels"
    return {
        "use": use,
        "client": data.job.client,
        "seed": data.job.seed,
        "sampler": sampler,
        "budget": budget,
        "epsilon": data.grid.epsilon if asks else 0.0,
        "accuracy": float(right.mean()),
    }


def summarise(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each use, sampler and budget: the clients' average, its spread over the seeds."""
    rows = []
    for key in dict.fromkeys(
        (cell["use"], cell["sampler"], cell["budget"], cell["epsilon"]) for cell in cells
    ):
        group = [c for c in cells if (c["use"], c["sampler"], c["budget"], c["epsilon"]) == key]
        seeds = sorted({cell["seed"] for cell in group})
        figure = spread(
            [float(np.mean([c["accuracy"] for c in group if c["seed"] == seed])) for seed in seeds]
        )
        row = dict(zip(("use", "sampler", "budget", "epsilon"), key, strict=True))
        row |= {"client": "average", "accuracy_mean": figure.mean, "accuracy_std": figure.std, "seeds": seeds}
        if "label_accuracy" in group[0]:
            row["label_accuracy"] = float(np.mean([cell["label_accuracy"] for cell in group]))
        rows.append(row)
    return rows
