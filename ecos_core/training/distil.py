"""Adaptive model compression: a teacher trained on the labelled lake, distilled into a small student on
the selection.

The teacher is the probe on the whole labelled lake's features, cached in the lake; its softened answers
on the selected samples are the student's targets (Hinton et al. 2015): alpha T^2 KL(teacher/T ||
student/T) + (1 - alpha) CE(label).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.features.backbones import find_backbone
from ecos_core.features.preprocessing import at_size
from ecos_core.storage import Location, identity
from ecos_core.training import loop
from ecos_core.training.data import lake_features
from ecos_core.training.evaluation import evaluate
from ecos_core.training.fine_tune import finish, shuffled, steps_of
from ecos_core.training.job import Job, Outcome
from ecos_core.training.linear_probe import LinearProbe, train_linear_probe
from ecos_core.training.network import (
    add_head,
    build_student,
    count_parameters,
    features_of,
)
from ecos_core.training.pixels import Augmentation, decode_all

LATENCY_RUNS = 30


@dataclass(frozen=True)
class _Ready:
    student: Any
    pixels: NDArray[np.uint8]
    soft: NDArray[np.float32]
    targets: NDArray[np.int64]
    augmentation: Augmentation
    device: str


def distil(job: Job) -> Outcome:
    """Train the student on the selection; figures compare it with the teacher. Raises InputError and
    Diverged.
    """
    teacher = train_teacher(job)
    ready = _prepare(job, teacher)
    rows = np.arange(len(ready.pixels))

    def batches(rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        return shuffled(rows, job.config.batch_size, rng)

    def loss(network: Any, batch: NDArray[np.int64]) -> tuple[Any, dict[str, float]]:
        return distillation_loss(network, ready, batch, job.config.temperature, job.config.alpha), {}

    objective = loop.Objective(batches, steps_of(rows, job.config), loss, inputs=job.inputs)
    network, history = loop.fit(
        ready.student, objective, job.config, job.seed, job.scratch, progress=job.progress
    )
    outcome = finish(job, network, teacher.classes, history, ready.device, with_program=True)
    outcome.figures.update(_compare(job, teacher, outcome))
    return outcome


def train_teacher(job: Job) -> LinearProbe:
    """The probe on all labelled samples of the lake's snapshot; stored under ``LAKE/teachers`` and found
    again.
    """
    key = identity("teacher", {"lake": job.snapshot.id, "extractor": job.fingerprint}, {"c": job.config.c})
    where = job.lake.folder("teachers") / f"{key}.safetensors"
    if where.exists():
        return _read_teacher(where)
    labels: dict[str, str] = {}
    for shard in job.snapshot.shards:
        table = job.lake.read_images(shard, ["sample_id", "label"]).to_pydict()
        labels.update(
            {id: label for id, label in zip(table["sample_id"], table["label"], strict=True) if label}
        )
    if not labels:
        raise InputError(
            f"{job.lake.location}: no labels in this lake, so there is nothing to train a teacher on"
        )
    ids = sorted(labels)
    features = lake_features(job.lake, job.snapshot, job.fingerprint, ids)
    teacher = train_linear_probe(features, [labels[id] for id in ids], c=job.config.c)
    _write_teacher(where, teacher)
    return teacher


def _write_teacher(where: Location, teacher: LinearProbe) -> None:
    from safetensors.numpy import save

    where.write_bytes(save(teacher.to_arrays(), metadata={"classes": json.dumps(teacher.classes)}))


def _read_teacher(where: Location) -> LinearProbe:
    from safetensors.numpy import load

    content = where.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return LinearProbe.from_arrays(load(content), json.loads(header["__metadata__"]["classes"]))


def _prepare(job: Job, teacher: LinearProbe) -> _Ready:
    import torch

    torch.manual_seed(job.seed)
    config = job.config
    position = {name: index for index, name in enumerate(teacher.classes)}
    strange = sorted(set(job.train.labels) - position.keys())
    if strange:
        raise InputError(
            f"distillation: label(s) {', '.join(strange[:5])} are not in the teacher's labelled lake"
        )
    device = loop.choose_device(config)
    preprocessing = at_size(job.extractor().preprocessing, config.image_size)
    pixels = decode_all(job.train.images, preprocessing)
    features = lake_features(job.lake, job.snapshot, job.fingerprint, job.train.sample_ids)
    body = build_student(config.student, config.image_size).to(device)
    student_features = features_of(body, pixels, device)
    start = train_linear_probe(student_features, job.train.labels, c=config.c)
    same = start if start.classes == teacher.classes else None
    student = add_head(body, student_features.shape[1], same, len(teacher.classes))
    targets = np.array([position[name] for name in job.train.labels], dtype=np.int64)
    soft = soften(teacher.predict_proba(features), config.temperature)
    return _Ready(student, pixels, soft, targets, Augmentation(config.image_size), device)


def soften(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Softmax of the logits divided by the temperature, from the probabilities at temperature 1."""
    logits = np.log(np.maximum(probabilities, 1e-12)) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


def distillation_loss(
    network: Any, ready: _Ready, rows: NDArray[np.int64], temperature: float, alpha: float
) -> Any:
    """alpha T^2 KL(teacher/T || student/T) + (1 - alpha) CE(label), Hinton et al. 2015, averaged over ``rows``."""
    import torch
    from torch.nn import functional

    logits = network(ready.augmentation.weak(ready.pixels[rows]).to(ready.device)).float()
    soft = torch.from_numpy(ready.soft[rows]).to(ready.device)
    targets = torch.from_numpy(ready.targets[rows]).to(ready.device)
    divergence = functional.kl_div((logits / temperature).log_softmax(dim=1), soft, reduction="batchmean")
    return alpha * temperature**2 * divergence + (1 - alpha) * functional.cross_entropy(logits, targets)


def _compare(job: Job, teacher: LinearProbe, outcome: Outcome) -> dict[str, float]:
    """Size, median latency of one picture on one thread, and accuracy. The teacher's size and latency are its
    backbone's: its probe adds a thousandth."""
    extractor, side = job.extractor(), job.config.image_size
    student = outcome.onnx or b""
    backbone = find_backbone(extractor.backbone)
    graph = backbone.onnx_graph(side)
    figures = {
        "student_ms": latency_ms(student, side),
        "student_bytes": float(len(student)),
        "teacher_ms": latency_ms(graph, side),
        "teacher_bytes": float(len(graph)),
        "teacher_parameters": float(count_parameters(backbone.torch_module(side))),
    }
    if job.test is not None:
        answers = teacher.predict_proba(job.test_features(job.test))
        figures["teacher_accuracy"] = evaluate(answers, job.test.labels, teacher.classes).accuracy
    return figures


def latency_ms(graph: bytes, image_size: int) -> float:
    """Median time of one picture through ONNX Runtime on one thread, in milliseconds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    picture = {"pixels": np.zeros((1, image_size, image_size, 3), np.uint8)}
    times = []
    for _ in range(LATENCY_RUNS):
        began = time.perf_counter()
        session.run(None, picture)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
