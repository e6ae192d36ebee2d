"""FixMatch (Sohn et al., NeurIPS 2020): the labelled selection, and the rest of the lake without labels.

A pseudo-label is what the network says of a weak view where it is more confident than the threshold; the
strong view must then agree. The averaged network is the one that is evaluated. Starts from the linear
probe, as fine-tuning does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.features.preprocessing import at_size
from ecos_core.lake.lookup import image_files
from ecos_core.training import loop
from ecos_core.training.fine_tune import (
    Prepared,
    finish,
    prepare,
    shuffled,
    steps_of,
    supervised_loss,
    validation,
)
from ecos_core.training.job import Job, Outcome
from ecos_core.training.pixels import decode_all

Batch = tuple[NDArray[np.int64], NDArray[np.int64]]


def fixmatch(job: Job) -> Outcome:
    """Labelled cross-entropy plus ``unlabelled_weight`` times the masked one. Raises InputError and
    Diverged.
    """
    ready = prepare(job)
    unlabelled = _unlabelled_pixels(job)
    config = job.config

    def batches(rng: np.random.Generator) -> Iterator[Batch]:
        for rows in shuffled(ready.fitted, config.batch_size, rng):
            yield rows, rng.integers(0, len(unlabelled), config.unlabelled_ratio * len(rows))

    def loss(network: Any, batch: Batch) -> tuple[Any, dict[str, float]]:
        rows, others = batch
        labelled = supervised_loss(network, ready, rows, config)
        agreement, used = consistency_loss(network, ready, unlabelled[others], config.threshold)
        return labelled + config.unlabelled_weight * agreement, {"pseudo_labelled": used}

    objective = loop.Objective(
        batches, steps_of(ready.fitted, config), loss, validation(ready, job), job.inputs
    )
    network, history = loop.fit(
        ready.network, objective, config, job.seed, job.scratch, progress=job.progress
    )
    return finish(job, network, ready.classes, history, ready.device)


def consistency_loss(
    network: Any, ready: Prepared, pixels: NDArray[np.uint8], threshold: float
) -> tuple[Any, float]:
    """(mean over all unlabelled of the masked cross-entropy, share that passed the threshold); equation 4."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        weak = ready.augmentation.weak(pixels).to(ready.device)
        confidence, pseudo = network(weak).float().softmax(dim=1).max(dim=1)
        mask = confidence >= threshold
    if not mask.any():
        return torch.zeros((), device=ready.device), 0.0
    kept = mask.cpu().numpy()
    strong = ready.augmentation.strong(pixels[kept]).to(ready.device)
    losses = functional.cross_entropy(network(strong).float(), pseudo[mask], reduction="none")
    return losses.sum() / len(pixels), float(mask.float().mean())


def _unlabelled_pixels(job: Job) -> NDArray[np.uint8]:
    """Pictures of the lake that are not in the selection; at most ``unlabelled_limit``, drawn by the seed."""
    chosen = set(job.train.sample_ids)
    ids = [
        sample_id
        for shard in job.snapshot.shards
        for sample_id in job.lake.read_images(shard, ["sample_id"])["sample_id"].to_pylist()
        if sample_id not in chosen
    ]
    if not ids:
        raise InputError(
            f"{job.lake.location}: nothing is left for FixMatch to use unlabelled; use fine_tune"
        )
    limit = job.config.unlabelled_limit
    if limit is not None and limit < len(ids):
        drawn = np.random.default_rng(job.seed).choice(len(ids), limit, replace=False)
        ids = [ids[row] for row in sorted(drawn)]
    files = image_files(job.lake, job.snapshot, ids)
    preprocessing = at_size(job.extractor().preprocessing, job.config.image_size)
    return decode_all([files[sample_id] for sample_id in ids], preprocessing)
