"""A trained model in MLflow: how good it is in figures, itself with signature and example, and the registry.

The registry holds one model a client (experiment) and use. The alias ``champion`` moves to a new version only
when that beats the present one on the same test set; figures on different test sets are not compared.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from ecos_core.storage import Location, read_manifest
from ecos_core.training.evaluation import spread
from ecos_core.training.train import KIND as TRAINING
from tasks.tracking import Run, metric_name

CHAMPION = "champion"
MODEL_FOLDER = "model"
# ONNX tensor types that our models take: numbers of features, bytes of pixels.
NUMPY_TYPES: dict[int, Any] = {
    onnx.TensorProto.FLOAT: np.dtype("float32"),
    onnx.TensorProto.UINT8: np.dtype("uint8"),
}
REQUIREMENTS = ["onnx", "onnxruntime", "numpy"]


def log_seed_figures(run: Run, seeds: Sequence[Mapping[str, Any]]) -> None:
    """Per seed: every epoch's figures, accuracy of each class, calibration error, and the confusion matrix as a file.

    ``seeds`` are the rows of a training's ``metrics.json``.
    """
    for row in seeds:
        prefix = f"seed{row['seed']}"
        for epoch in row["history"]:
            values = {f"{prefix}/{name}": value for name, value in epoch.items() if name != "epoch"}
            run.metrics(values, step=int(epoch.get("epoch", 0)))
        run.metrics({f"{prefix}/{name}": value for name, value in row["figures"].items()})
        if "test" not in row:
            continue
        test = row["test"]
        figures = {f"{prefix}/class/{name}": value for name, value in test["per_class"].items()}
        figures[f"{prefix}/macro_accuracy"] = test["macro_accuracy"]
        if test["ece"] is not None:
            figures[f"{prefix}/calibration_error"] = test["ece"]
        run.metrics(figures)
        run.client.log_dict(run.id, dict(test), f"evaluation/{prefix}.json")
        figure = confusion_figure(test["confusion"], test["classes"])
        run.client.log_figure(run.id, figure, f"evaluation/{prefix}-confusion.png")


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Any:
    """The confusion matrix as a picture: true classes down, answers across, counts in the cells."""
    from matplotlib.figure import Figure

    counts = np.asarray(confusion)
    side = 2.0 + 0.45 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    for place, count in np.ndenumerate(counts):
        share = count / max(counts[place[0]].sum(), 1)
        axes.text(
            place[1],
            place[0],
            str(count),
            ha="center",
            va="center",
            color="white" if share > 0.5 else "black",
        )
    return figure


def accuracy_metrics(accuracies: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation and 95 % confidence interval over the seeds; empty without a test set."""
    known = [value for value in accuracies if math.isfinite(value)]
    if not known:
        return {}
    figure = spread(known)
    return {
        "accuracy_mean": figure.mean,
        "accuracy_std": figure.std,
        "accuracy_low": figure.low,
        "accuracy_high": figure.high,
    }


def training_inputs(model: str, addresses: Mapping[str, str | None]) -> dict[str, tuple[str, str]]:
    """{role: (address, digest)} of what a model was trained and tested on, by its manifest's digests."""
    found = read_manifest(Location.of(model), TRAINING).inputs
    return {role: (addresses.get(role) or role, digest) for role, digest in found.items()}


def log_onnx_model(run: Run, model: str, seed: int) -> bool:
    """Put a seed's ONNX file into the run as an MLflow model with signature and input example.

    False where the training wrote none.
    """
    content = _onnx_file(model, seed)
    if content is None:
        return False
    graph = onnx.load_from_string(content)
    signature, example = signature_of(graph)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        mlflow.onnx.save_model(
            graph,
            str(folder),
            signature=signature,
            input_example=example,
            pip_requirements=REQUIREMENTS,
            save_as_external_data=False,
        )
        run.client.log_artifacts(run.id, str(folder), MODEL_FOLDER)
    return True


def _onnx_file(model: str, seed: int) -> bytes | None:
    try:
        return (Location.of(model) / f"model-seed{seed}.onnx").read_bytes()
    except FileNotFoundError:
        return None


def signature_of(graph: onnx.ModelProto) -> tuple[ModelSignature, dict[str, np.ndarray[Any, Any]]]:
    """The model's signature, its first axis free, and one sample of zeros."""

    def spec(value: Any) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(axis.dim_value or -1 for axis in tensor.shape.dim)
        return TensorSpec(NUMPY_TYPES[tensor.elem_type], shape, value.name)

    inputs: list[Any] = [spec(value) for value in graph.graph.input]
    outputs: list[Any] = [spec(value) for value in graph.graph.output]
    example = {
        item.name: np.zeros([1 if axis == -1 else axis for axis in item.shape], item.type) for item in inputs
    }
    return ModelSignature(Schema(inputs), Schema(outputs)), example


def register(run: Run, name: str, *, accuracy: float, test_digest: str, tags: Mapping[str, str]) -> bool:
    """Register the run's model; it becomes the champion when it beats the present one on the same test set.

    Returns whether it did.
    """
    registered = model_name(name)
    try:
        run.client.create_registered_model(registered)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    about = {**tags, "accuracy": repr(accuracy), "test_digest": test_digest}
    version = run.client.create_model_version(
        registered, source=f"runs:/{run.id}/{MODEL_FOLDER}", run_id=run.id, tags=about
    )
    wins = beats(accuracy, test_digest, champion(run.client, registered))
    if wins:
        run.client.set_registered_model_alias(registered, CHAMPION, version.version)
    run.tags({"ecos.model": f"{registered}/{version.version}", "ecos.champion": json.dumps(wins)})
    return wins


def champion(client: MlflowClient, registered: str) -> ModelVersion | None:
    """The version that holds the alias now; None when none does."""
    try:
        return client.get_model_version_by_alias(registered, CHAMPION)
    except mlflow.exceptions.MlflowException:
        return None


def beats(accuracy: float, test_digest: str, incumbent: ModelVersion | None) -> bool:
    """Whether a model of this accuracy takes the place of ``incumbent``."""
    if incumbent is None:
        return True
    same_test = incumbent.tags.get("test_digest") == test_digest
    return same_test and accuracy > float(incumbent.tags["accuracy"])


def model_name(name: str) -> str:
    """What the registry allows: no slash, colon or the like."""
    return re.sub(r"[/:.%\"']", "_", metric_name(name))
