from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecos_core.config import TrackingConfig


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    """MLflow in a file of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    os.environ["ECOS_MLFLOW_ARTIFACTS"] = str(folder / "artifacts")
    return TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}", experiment="tiny")


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "out")
