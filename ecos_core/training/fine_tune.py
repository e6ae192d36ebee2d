"""Fine-tuning on the labelled selection: the linear probe first, then the whole network from there.

Probe, then fine-tune (Kumar et al., ICLR 2022) never starts below the probe, which matters for a few
hundred samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.features.preprocessing import at_size
from ecos_core.training import loop
from ecos_core.training.config import TrainConfig
from ecos_core.training.job import Job, Outcome
from ecos_core.training.linear_probe import train_linear_probe
from ecos_core.training.network import (
    add_head,
    build_network,
    count_parameters,
    features_of,
    freeze,
    probabilities_of,
)
from ecos_core.training.pixels import Augmentation, decode_all
from ecos_core.training.precision import precision_of

PARITY_IMAGES = 8


@dataclass(frozen=True)
class Prepared:
    """A network that starts as the probe, and the labelled pictures: ``targets`` int64 [n] index
    ``classes``.
    """

    network: Any
    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    classes: tuple[str, ...]
    fitted: NDArray[np.int64]
    held_out: NDArray[np.int64]
    device: str
    augmentation: Augmentation


def fine_tune(job: Job) -> Outcome:
    """Cross-entropy on weakly augmented pictures. Raises InputError and Diverged."""
    ready = prepare(job)

    def batches(rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        return shuffled(ready.fitted, job.config.batch_size, rng)

    def loss(network: Any, rows: NDArray[np.int64]) -> tuple[Any, dict[str, float]]:
        return supervised_loss(network, ready, rows, job.config), {}

    objective = loop.Objective(
        batches, steps_of(ready.fitted, job.config), loss, validation(ready, job), job.inputs
    )
    network, history = loop.fit(
        ready.network, objective, job.config, job.seed, job.scratch, progress=job.progress
    )
    return finish(job, network, ready.classes, history, ready.device)


def prepare(job: Job) -> Prepared:
    """Decode, fit the probe on the backbone's features and build the network from it."""
    import torch

    torch.manual_seed(job.seed)
    config = job.config
    device = loop.choose_device(config)
    extractor = job.extractor()
    preprocessing = at_size(extractor.preprocessing, config.image_size)
    pixels = decode_all(job.train.images, preprocessing)
    fitted, held_out = split_validation(job.train.labels, config, job.seed)
    body = build_network(extractor.backbone, extractor.weights_sha256, config.image_size).to(device)
    features = features_of(body, pixels[fitted], device)
    probe = train_linear_probe(features, np.asarray(job.train.labels)[fitted], c=config.c, seed=job.seed)
    network = add_head(body, features.shape[1], probe, len(probe.classes))
    freeze(network, config.freeze)
    position = {name: index for index, name in enumerate(probe.classes)}
    targets = np.array([position[name] for name in job.train.labels], dtype=np.int64)
    augmentation = Augmentation(config.image_size)
    return Prepared(network, pixels, targets, probe.classes, fitted, held_out, device, augmentation)


def split_validation(
    labels: list[str], config: TrainConfig, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(fitted rows, held-out rows), stratified; nothing is held out without early stopping. Every class
    keeps at least one fitted sample.
    """
    names = np.asarray(labels)
    held: list[int] = []
    if config.patience > 0 and config.validation_share > 0:
        rng = np.random.default_rng(seed)
        for name in np.unique(names):
            rows = rng.permutation(np.flatnonzero(names == name))
            held += rows[: min(round(config.validation_share * len(rows)), len(rows) - 1)].tolist()
    held_out = np.array(sorted(held), dtype=np.int64)
    return np.setdiff1d(np.arange(len(names)), held_out), held_out


def shuffled(rows: NDArray[np.int64], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Batches of a random order of ``rows``."""
    order = rng.permutation(rows)
    return (order[start : start + size] for start in range(0, len(order), size))


def steps_of(rows: NDArray[np.int64], config: TrainConfig) -> int:
    """Optimiser steps in an epoch."""
    return -(-len(rows) // config.batch_size)


def supervised_loss(network: Any, ready: Prepared, rows: NDArray[np.int64], config: TrainConfig) -> Any:
    """Cross-entropy of the labelled ``rows``, smoothed as configured."""
    import torch
    from torch.nn import functional

    views = ready.augmentation.weak(ready.pixels[rows]).to(ready.device)
    targets = torch.from_numpy(ready.targets[rows]).to(ready.device)
    return functional.cross_entropy(network(views).float(), targets, label_smoothing=config.label_smoothing)


def validation(ready: Prepared, job: Job) -> Any:
    """Accuracy on the held-out labelled samples, or None when nothing is held out."""
    if not len(ready.held_out):
        return None
    pixels, targets = ready.pixels[ready.held_out], ready.targets[ready.held_out]

    def accuracy(network: Any) -> float:
        return float((probabilities_of(network, pixels, ready.device).argmax(axis=1) == targets).mean())

    return accuracy


def finish(
    job: Job,
    network: Any,
    classes: tuple[str, ...],
    history: list[dict[str, float]],
    device: str,
    *,
    with_program: bool = False,
) -> Outcome:
    """Weights, exports that were seen to agree with the network, and probabilities on the test set.

    Raises ExportDiffers.
    """
    from ecos_core.training.export import network_to_onnx, network_to_program, parity

    preprocessing = at_size(job.extractor().preprocessing, job.config.image_size)
    probabilities = None
    if job.test is not None:
        probabilities = probabilities_of(network, decode_all(job.test.images, preprocessing), device)
    network = network.cpu()
    onnx = network_to_onnx(network, job.config.image_size, classes)
    program = network_to_program(network, job.config.image_size) if with_program else None
    checked = decode_all(job.train.images[:PARITY_IMAGES], preprocessing)
    differences = parity(network, checked, onnx=onnx, program=program)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return Outcome(
        tensors,
        classes,
        {
            "model": job.config.use.value,
            "image_size": str(job.config.image_size),
            "precision": precision_of(job.config, device),
        },
        probabilities,
        onnx=onnx,
        program=program,
        figures={"parameters": float(count_parameters(network)), **differences},
        history=history,
    )
