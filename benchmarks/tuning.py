"""Selective labelling beyond the probe: the product's fine-tuning and FixMatch on what each sampler picked.

Every cell is a training of ``ecos_core.training``: the network starts as the linear probe of the same
picks, so a cell says whether training further pays. FixMatch's unlabelled images are an even draw from the
split's lake, ingested once into a lake of their own. Minutes a cell on a CPU, so the smallest budgets come first and
finished cells are kept.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grid import JobData, planned_sigma, select
from ecos_core.storage import Location
from ecos_core.training.config import TrainConfig, Use
from ecos_core.training.evaluation import evaluate

# Chosen on a split that no table shows (seed 4): a short training of the upper half of the network.
SETTINGS: dict[str, Any] = {
    "epochs": 15,
    "learning_rate": 0.0003,
    "freeze": "stem",
    "device": "cpu",
}
UNLABELLED = 2000


@dataclass(frozen=True)
class Pictures:
    """The image files by sample id, and the data set's side in pixels."""

    contents: Mapping[str, bytes]
    image_size: int

    def of(self, data: JobData, rows: Sequence[int] | np.ndarray[Any, Any]) -> Any:
        """``LabelledImages`` of some rows of the data set, with their true labels."""
        from ecos_core.training.data import LabelledImages

        ids = [str(data.images.sample_ids[row]) for row in rows]
        labels = [str(data.images.labels[row]) for row in rows]
        return LabelledImages(ids, [self.contents[key] for key in ids], labels, {})


def measure(
    data: JobData, pictures: Pictures, use: str, sampler: str, budget: int, home: Path, **settings: Any
) -> dict[str, Any]:
    """One training: ``accuracy`` on the client's test set, ``probe_accuracy`` of the linear probe on the same
    picks, ``seconds`` of processor time."""
    sigma = planned_sigma(data.grid.epsilon, data.grid.delta) if sampler == "ecos" else None
    picked = data.rows_of(select(data, sampler, max(data.grid.budgets), sigma, seed=data.job.seed))[:budget]
    scratch = home / f"{data.job.client}-{data.job.seed}-{use}-{sampler}-{budget}"
    began = time.process_time()
    outcome = _runner(use)(training_job(data, pictures, use, picked, home, scratch, **settings))
    spent = time.process_time() - began
    assert outcome.probabilities is not None
    accuracy = evaluate(outcome.probabilities, data.images.labels[data.test], outcome.classes).accuracy
    used = [row["pseudo_labelled"] for row in outcome.history if "pseudo_labelled" in row]
    return {
        "accuracy": accuracy,
        "probe_accuracy": data.accuracy(picked),
        "epsilon": data.grid.epsilon if sampler == "ecos" else 0.0,
        "pseudo_labelled": float(used[-1]) if used else None,
        "seconds": round(spent, 1),
    }


def training_job(
    data: JobData,
    pictures: Pictures,
    use: str,
    picked: np.ndarray[Any, Any],
    home: Path,
    scratch: Path,
    **settings: Any,
) -> Any:
    """The same ``Job`` that ``ecos train`` makes."""
    from ecos_core.features.extractor import load_extractor
    from ecos_core.training.job import Job

    extractor = load_extractor(image_size=pictures.image_size)
    lake = split_lake(data, pictures, home)
    config = TrainConfig.model_validate(
        {**SETTINGS, "use": use, "seeds": (data.job.seed,), "image_size": pictures.image_size, **settings}
    )
    return Job(
        config,
        data.job.seed,
        pictures.of(data, picked),
        pictures.of(data, data.test),
        lake,
        lake.snapshot(),
        lambda: extractor,
        extractor.fingerprint,
        Location.of(scratch),
    )


def split_lake(data: JobData, pictures: Pictures, home: Path) -> Any:
    """``UNLABELLED`` images of the split's lake, without labels, ingested once."""
    import tarfile
    import tempfile

    from ecos_core.lake.ingest import ingest
    from ecos_core.lake.lake import Lake

    folder = home / f"lake-{data.job.pool.replace('+', '-')}-{data.job.client}-{data.job.seed}"
    lake = Lake.open_or_create(folder)
    if lake.head() is not None:
        return lake
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "lake.tar"
        drawn = np.random.default_rng(data.job.seed).permutation(data.lake)[:UNLABELLED]
        with tarfile.open(path, "w") as archive:
            for row in drawn:
                key = str(data.images.sample_ids[row])
                member = tarfile.TarInfo(f"{key[:40]}.png")
                member.size = len(pictures.contents[key])
                archive.addfile(member, io.BytesIO(pictures.contents[key]))
        ingest(path, lake)
    return lake


def _runner(use: str) -> Callable[[Any], Any]:
    if Use(use) is Use.FIXMATCH:
        from ecos_core.training.fixmatch import fixmatch

        return fixmatch
    from ecos_core.training.fine_tune import fine_tune

    return fine_tune
