"""The lock files: exact versions with hashes and nothing else, one version of each package, all that an extra needs."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
# Which extras of pyproject.toml each lock file holds.
EXTRAS = {
    "client": ("client",),
    "cloud": ("cloud", "demo"),
    "dev": ("cloud", "demo", "ray", "text", "backbones", "lite", "hub", "dev", "docs"),
    "docs": ("docs",),
}
LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z0-9, _-]+\])?==(?P<version>[^ ;\\]+)(?: ; [^\\]+)? \\")
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}(?: \\)?")


def locked(name: str) -> dict[str, set[str]]:
    """The versions of each package: more than one where they differ by Python or platform."""
    versions: dict[str, set[str]] = {}
    for line in (REQUIREMENTS / f"{name}.txt").read_text().splitlines():
        if found := LINE.fullmatch(line):
            versions.setdefault(canonicalize_name(found["name"]), set()).add(found["version"])
    return versions


def declared(*extras: str) -> set[str]:
    """The packages that pyproject.toml asks for, extras of this project followed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    for line in project["dependencies"] + [
        x for name in extras for x in project["optional-dependencies"][name]
    ]:
        wanted = Requirement(line)
        if wanted.name == project["name"]:
            found |= declared(*wanted.extras)
        else:
            found.add(canonicalize_name(wanted.name))
    return found


@pytest.mark.parametrize("name", [*EXTRAS, "label-studio"])
def test_a_lock_holds_versions_and_hashes_and_no_address(name: str) -> None:
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    strange = [x for x in lines if not (LINE.fullmatch(x) or HASH.fullmatch(x) or x.startswith("#"))]
    assert not strange
    assert all(HASH.fullmatch(after) for line, after in itertools.pairwise(lines) if LINE.fullmatch(line))


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_holds_what_its_extras_ask_for(name: str) -> None:
    assert declared(*EXTRAS[name]) <= locked(name).keys()


@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_installed_is_what_is_tested(name: str) -> None:
    everything = locked("dev")
    assert {
        package: found for package, found in locked(name).items() if not found <= everything[package]
    } == {}


def test_a_data_owner_installs_no_tools_and_an_operator_no_documentation() -> None:
    tools = {"pytest", "ruff", "mypy", "mkdocs", "playwright", "moto", "hypothesis"}
    assert not tools & locked("client").keys()
    assert not tools & locked("cloud").keys()
    assert not {"torch", "prefect", "mlflow", "pyarrow", "pandas"} & locked("client").keys()
