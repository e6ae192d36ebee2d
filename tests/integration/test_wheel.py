"""What ``pip install .`` puts on a machine: the two packages, typed, with their data, and nothing generic.

``test_light_install`` installs it in a clean environment and works with it.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"ecos_core", "ecos_cli"}
EXTRAS = {
    "client",
    "verify",
    "cloud",
    "demo",
    "ray",
    "text",
    "backbones",
    "lite",
    "hub",
    "docs",
    "bench",
    "dev",
}

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--quiet", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_holds_the_typed_packages_and_nothing_generic(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    tracked = subprocess.run(
        ["git", "ls-files", *sorted(PACKAGES)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(tracked) <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    assert wheel.stat().st_size < 2**20


def test_it_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (place,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        said = Parser().parsestr(archive.read(place).decode())
        (entries,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "ecos = ecos_cli.main:main" in archive.read(entries).decode()
        assert [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert (said["Name"], said["License-Expression"]) == ("ecos-sampling", "Apache-2.0")
    assert set(said.get_all("Provides-Extra", [])) == EXTRAS
    assert "Typing :: Typed" in said.get_all("Classifier", [])


def test_the_source_distribution_builds_the_same_packages(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "ecos_cli/py.typed"} <= names
    assert {name.split("/")[0] for name in names if "/" in name} == PACKAGES
