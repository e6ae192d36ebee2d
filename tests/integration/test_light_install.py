"""What a data owner installs: nothing of the cloud, under 400 MB; the time to a first answer is recorded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import client_start

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 400
CLOUD_ONLY = ("prefect", "mlflow", "faiss", "torch", "pyarrow", "pandas")


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
def test_the_client_installs_alone(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    python = install(tmp_path / "venv")
    for package in CLOUD_ONLY:
        absent = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False)
        assert absent.returncode != 0, f"{package} came along"
    check_the_command(python, tmp_path)
    size_mb = folder_mb(tmp_path / "venv") - installer_mb(tmp_path / "venv")
    # What pip does when it is not told not to: Python's cache of compiled files, beside the packages.
    subprocess.run([python, "-m", "compileall", "-q", tmp_path / "venv" / "lib"], check=False)
    with_cache_mb = folder_mb(tmp_path / "venv") - installer_mb(tmp_path / "venv")
    home = client_start.make_home(python, tmp_path)
    seconds, epsilon = client_start.first_answer(python, home, tmp_path)
    record_property("installed_mb", round(size_mb))
    record_property("with_compiled_files_mb", round(with_cache_mb))
    record_property("first_answer_s", round(seconds, 2))
    assert size_mb < LIMIT_MB
    assert epsilon == pytest.approx(0.582, rel=0.005)


def install(venv: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    locked = ["--no-deps", "--require-hashes", "--requirement", ROOT / "requirements" / "client.txt"]
    subprocess.run([*pip, *locked], check=True, cwd=venv)
    subprocess.run([*pip, "--no-deps", ROOT], check=True, cwd=venv)
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


def installer_mb(venv: Path) -> float:
    """The installer itself, which a virtual environment of Python 3.11 comes with."""
    names = ("pip*", "setuptools*", "pkg_resources", "_distutils_hack")
    return sum(folder_mb(found) for name in names for found in venv.glob(f"lib/python*/site-packages/{name}"))
