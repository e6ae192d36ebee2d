from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecos_core.config import TrackingConfig


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module", autouse=True)
def _own_artifacts(mlflow_folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ECOS_MLFLOW_ARTIFACTS", str(mlflow_folder / "artifacts"))
        yield


@pytest.fixture(scope="session")
def tracking(mlflow_folder: Path) -> TrackingConfig:
    """MLflow in a file of its own."""
    return TrackingConfig(uri=f"sqlite:///{mlflow_folder / 'mlflow.db'}", experiment="tiny")


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "out")
