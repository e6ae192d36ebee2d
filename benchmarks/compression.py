"""Adaptive model compression on frozen features: which picks a small student is best distilled on.

The teacher is the probe on the whole labelled lake; the student (the first eleven of the sixteen blocks of
the backbone, 112 numbers) learns a head on the selection only, from the teacher's softened answers and the
labels. Its body stays frozen, so that a cell takes a second on a CPU; ``ecos train --use distil`` trains
the body too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grid import ImageSet, JobData, planned_sigma, select
from ecos_core.progress import Progress, ProgressSink
from ecos_core.training.linear_probe import LinearProbe, train_linear_probe

TEMPERATURE = 4.0
ALPHA = 0.7
STUDENT_C = 0.1
STUDENT = "lite0_trimmed"


def student_file(
    name: str,
    images: ImageSet,
    contents: Mapping[str, bytes],
    home: Path,
    image_size: int,
    progress: ProgressSink,
) -> Path:
    """The student body's features of all images, made once."""
    import torch

    from ecos_core.features.extractor import load_extractor
    from ecos_core.features.preprocessing import at_size
    from ecos_core.training.network import build_student, features_of
    from ecos_core.training.pixels import decode_all

    path = home / "bench" / "features" / f"{name}-student-{images.digest[:16]}.npz"
    if path.exists():
        return path
    torch.set_num_threads(1)
    preprocessing = at_size(load_extractor(image_size=image_size).preprocessing, image_size)
    body = build_student(STUDENT, image_size)
    blocks = []
    for start in range(0, len(images.sample_ids), 256):
        part = [contents[str(key)] for key in images.sample_ids[start : start + 256]]
        blocks.append(features_of(body, decode_all(part, preprocessing), "cpu"))
        progress(Progress("student features", start, len(images.sample_ids), "images"))
    features = np.concatenate(blocks)
    ImageSet(images.sample_ids, features, images.labels, images.domains, images.digest).save(path)
    return path


def measure(data: JobData, student: ImageSet, samplers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows {sampler, budget, epsilon, accuracy} of the student, and the teacher's as a row of its own."""
    grid, images = data.grid, data.images
    teacher = train_linear_probe(images.features[data.lake], images.labels[data.lake], c=grid.c)
    right = _accuracy(teacher, data, images.features)
    rows = [{"sampler": "teacher", "budget": None, "epsilon": 0.0, "accuracy": right}]
    for sampler in samplers:
        sigma = planned_sigma(grid.epsilon, grid.delta) if sampler == "ecos" else None
        picked = data.rows_of(select(data, sampler, max(grid.budgets), sigma, seed=data.job.seed))
        for budget in grid.budgets:
            chosen = picked[:budget]
            head = distilled_head(
                student.features[chosen], images.labels[chosen], teacher, images.features[chosen]
            )
            rows.append(
                {
                    "sampler": sampler,
                    "budget": budget,
                    "epsilon": grid.epsilon if sampler == "ecos" else 0.0,
                    "accuracy": _accuracy(head, data, student.features),
                }
            )
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


def costs(image_size: int, classes: int) -> list[dict[str, Any]]:
    """Size of the ONNX file and median latency of one picture on one thread, of teacher and student."""
    from ecos_core.features.backbones import EMBEDDED, find_backbone
    from ecos_core.training.distil import latency_ms
    from ecos_core.training.export import network_to_onnx
    from ecos_core.training.network import add_head, build_student

    body = build_student(STUDENT, image_size)
    student = network_to_onnx(
        add_head(body, 112, None, classes), image_size, tuple(f"class {i}" for i in range(classes))
    )
    graphs = {"teacher": find_backbone(EMBEDDED).onnx_graph(image_size), "student": student}
    return [
        {"model": name, "megabytes": len(graph) / 1e6, "milliseconds": latency_ms(graph, image_size)}
        for name, graph in graphs.items()
    ]


def _accuracy(model: LinearProbe, data: JobData, features: NDArray[np.float32]) -> float:
    return float((model.predict(features[data.test]) == data.images.labels[data.test]).mean())
