"""Trained models in a real MLflow store: figures, signature, a model that loads, and who becomes champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ecos_core.config import TrackingConfig
from ecos_core.training.evaluation import evaluate
from ecos_core.training.linear_probe import train_linear_probe
from tasks.models import accuracy_metrics, log_onnx_model, log_seed_figures, model_name, register
from tasks.tracking import tracked_run

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    folder = tmp_path_factory.mktemp("registry")
    return TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}", experiment="clinic/a")


@pytest.fixture(autouse=True)
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somewhere for artifacts; a run leaves nothing elsewhere, and no store to the rest of the process."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ECOS_MLFLOW_ARTIFACTS", str(tmp_path / "artifacts"))
    yield
    assert list((tmp_path / "work").iterdir()) == [] and not mlflow.is_tracking_uri_set()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    labels = np.array(CLASSES)[rng.integers(0, 3, 90)]
    features = rng.normal(size=(90, 6)).astype(np.float32) + 3 * (labels[:, None] == "owl")
    (folder / "model-seed1.onnx").write_bytes(train_linear_probe(features, labels).to_onnx())
    return folder


def loaded(tracking: TrackingConfig, address: str) -> Any:
    """A model as anybody loads it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", str(tracking.uri))
        return mlflow.pyfunc.load_model(address)


def seed_row() -> dict[str, Any]:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.2, 0.2]], np.float32)
    history = [{"epoch": 1.0, "loss": 0.9}, {"epoch": 2.0, "loss": 0.4}]
    test = evaluate(probabilities, ["cat", "dog", "owl"], CLASSES).to_dict()
    return {"seed": 1, "figures": {"parameters": 21.0}, "history": history, "test": test}


def test_a_seed_leaves_epochs_classes_calibration_and_confusion(tracking: TrackingConfig) -> None:
    with tracked_run(tracking, "figures") as run:
        log_seed_figures(run, [seed_row()])
    store = mlflow.MlflowClient(tracking.uri)
    told = store.get_run(run.id).data.metrics
    assert told["seed1/class/owl"] == 0.0 and told["seed1/class/dog"] == 1.0
    assert told["seed1/macro_accuracy"] == pytest.approx(2 / 3)
    assert 0 < told["seed1/calibration_error"] < 1
    losses = store.get_metric_history(run.id, "seed1/loss")
    assert [(entry.step, entry.value) for entry in losses] == [(1, 0.9), (2, 0.4)]
    kept = {found.path for found in store.list_artifacts(run.id, "evaluation")}
    assert kept == {"evaluation/seed1.json", "evaluation/seed1-confusion.png"}
    told_confusion = json.loads(Path(store.download_artifacts(run.id, "evaluation/seed1.json")).read_text())
    assert told_confusion["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_the_logged_model_has_a_signature_an_example_and_answers(
    tracking: TrackingConfig, trained: Path
) -> None:
    with tracked_run(tracking, "model") as run:
        assert log_onnx_model(run, str(trained), 1)
        assert not log_onnx_model(run, str(trained), 2)
    model = loaded(tracking, f"runs:/{run.id}/model")
    assert model.metadata.signature is not None
    assert [column.name for column in model.metadata.signature.inputs] == ["features"]
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 6)
    example = model.input_example
    assert example["features"].shape == (1, 6)
    answers = model.predict({"features": np.zeros((2, 6), np.float32)})
    assert answers["probabilities"].shape == (2, 3)


def test_only_a_better_model_on_the_same_test_becomes_the_champion(
    tracking: TrackingConfig, trained: Path
) -> None:
    store = mlflow.MlflowClient(tracking.uri)
    wins = []
    for accuracy, test in ((0.7, "t"), (0.65, "t"), (0.8, "another"), (0.75, "t")):
        with tracked_run(tracking, "candidate") as run:
            log_onnx_model(run, str(trained), 1)
            wins.append(register(run, "clinic/a-linear_probe", accuracy=accuracy, test_digest=test, tags={}))
    assert wins == [True, False, False, True]
    champion = store.get_model_version_by_alias(model_name("clinic/a-linear_probe"), "champion")
    assert str(champion.version) == "4" and float(champion.tags["accuracy"]) == 0.75
    best = loaded(tracking, f"models:/{champion.name}@champion")
    assert best.predict({"features": np.zeros((1, 6), np.float32)})["probabilities"].sum() == pytest.approx(1)
    assert store.get_run(run.id).data.tags["ecos.champion"] == "true"


def test_the_interval_is_students_and_nothing_without_a_test() -> None:
    told = accuracy_metrics([0.7, 0.8, 0.9])
    assert told["accuracy_low"] == pytest.approx(0.8 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert accuracy_metrics([float("nan")]) == {}
