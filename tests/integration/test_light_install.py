"""What a data owner installs: nothing of the cloud, under 400 MB; the time to a first answer is recorded."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 400
CLOUD_ONLY = ("prefect", "mlflow", "faiss", "torch", "pyarrow", "pandas")

ASK = """
import sys, numpy as np
from ecos_core.client.connection import connect
with connect(sys.argv[1], open(sys.argv[2]).read()) as connection:
    centroids = np.random.default_rng(0).normal(size=(100, 64))
    print(connection.score(centroids, sigma=6.12, fingerprint="f").epsilon)
"""


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_the_client_installs_alone(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    python = install(tmp_path / "venv")
    for package in CLOUD_ONLY:
        absent = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False)
        assert absent.returncode != 0, f"{package} came along"
    check_the_command(python, tmp_path)
    size_mb = folder_mb(tmp_path / "venv") - pip_mb(tmp_path / "venv")
    seconds, epsilon = first_answer(python, tmp_path)
    record_property("installed_mb", round(size_mb))
    record_property("first_answer_s", round(seconds, 2))
    assert size_mb < LIMIT_MB
    assert epsilon == pytest.approx(0.582, rel=0.005)


def install(venv: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--no-compile", f"{ROOT}[client]"]
    subprocess.run(command, check=True, cwd=venv)
    return python


def check_the_command(python: Path, folder: Path) -> None:
    """``ecos`` plans without the cloud's packages, names what is missing, and brought nothing generic."""
    ecos = python.with_name("ecos")
    planned = subprocess.run(
        [ecos, "plan", "--epsilon", "0.582"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "6.1" in planned.stdout
    refused = subprocess.run(
        [ecos, "ingest", "x", "--lake", "y"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    assert not [name for name in ("flows", "tasks", "tests", "benchmarks", "docs") if (site / name).exists()]
    assert (site / "ecos_core" / "py.typed").exists() and (site / "ecos_cli" / "py.typed").exists()


def folder_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()) / 2**20


def pip_mb(venv: Path) -> float:
    """The installer itself, which every virtual environment has."""
    return sum(folder_mb(found) for found in venv.glob("lib/python*/site-packages/pip*"))


def first_answer(python: Path, folder: Path) -> tuple[float, float]:
    """Seconds from starting the service on cached features to the first answer, and its epsilon."""
    features = np.random.default_rng(1).normal(size=(5000, 64)).astype(np.float32)
    np.save(folder / "features.npy", features)
    ecos = [python.with_name("ecos"), "client"]
    home = folder / "home"
    options = ["--home", home, "--features", folder / "features.npy", "--fingerprint", "f", "--epsilon", "2"]
    subprocess.run([*ecos, "init", *options], check=True, capture_output=True, cwd=folder)
    warmed = [*ecos, "serve", "--help"]
    subprocess.run(warmed, check=True, capture_output=True, cwd=folder)
    ready = folder / "address"
    began = time.monotonic()
    serve = [*ecos, "serve", "--home", home, "--port", "0", "--ready-file", ready]
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.DEVNULL) as service:
        try:
            while not ready.exists():
                assert service.poll() is None
                time.sleep(0.02)
            command = [python, "-c", ASK, ready.read_text(), home / "token"]
            asked = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
            return time.monotonic() - began, float(asked.stdout)
        finally:
            service.terminate()
