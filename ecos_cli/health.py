"""What ``ecos doctor`` finds out: packages by extra, the machine, and the choices that would be made on
it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import platform
from typing import Any

from ecos_core.errors import EcosError
from ecos_core.threads import available_cores

DISTRIBUTION = "ecos-sampling"
# Packages whose libraries may fail to load: tried by their import name. The others are only looked up.
IMPORTS = {
    "faiss-gpu": "faiss",
    "faiss-cpu": "faiss",
    "torch": "torch",
    "torchvision": "torchvision",
    "onnxruntime": "onnxruntime",
    "pyarrow": "pyarrow",
}


def inspect_machine(lake: str | None = None) -> dict[str, Any]:
    """Everything that ``ecos doctor`` prints. Imports heavy packages to see whether they load."""
    from ecos_core import __version__

    packages = {extra: {name: _look(name) for name in names} for extra, names in _requirements().items()}
    missing = {
        extra: f"pip install '{DISTRIBUTION}[{extra}]'"
        for extra, found in packages.items()
        if extra != "base" and any(entry["version"] is None for entry in found.values())
    }
    broken = [name for found in packages.values() for name, entry in found.items() if entry["broken"]]
    return {
        "ecos": __version__,
        "machine": _machine(),
        "packages": packages,
        "choices": {
            "features": _engine(),
            "k-means": _clustering(),
            "data owner": _confinement(),
        },
        "lake": _lake(lake) if lake else {},
        "install": missing,
        "broken": broken,
    }


def _requirements() -> dict[str, list[str]]:
    """The distributions each extra names, markers applied; the extras that only repeat others are left
    out."""
    from packaging.requirements import Requirement

    try:
        stated = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        stated = _stated_in_checkout()
    found: dict[str, list[str]] = {"base": [], "client": [], "cloud": [], "ray": [], "demo": []}
    for line in stated:
        requirement = Requirement(line)
        for extra, names in found.items():
            chosen = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            named = "extra ==" in str(requirement.marker or "")
            if chosen and named == (extra != "base") and requirement.name != DISTRIBUTION:
                names.append(requirement.name)
    return found


def _stated_in_checkout() -> list[str]:
    """The requirements of ``pyproject.toml`` beside the packages, in the form that an installed wheel
    states."""
    import tomllib
    from pathlib import Path

    path = Path(__file__).parents[1] / "pyproject.toml"
    if not path.is_file():
        return []
    project = tomllib.loads(path.read_text())["project"]
    lines = list(project["dependencies"])
    for extra, requirements in project["optional-dependencies"].items():
        for line in requirements:
            requirement, _, marker = line.partition(";")
            condition = f"({marker.strip()}) and extra == '{extra}'" if marker else f"extra == '{extra}'"
            lines.append(f"{requirement.strip()}; {condition}")
    return lines


def _look(name: str) -> dict[str, Any]:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return {"version": None, "problem": "not installed", "broken": False}
    module = IMPORTS.get(name)
    if not module:
        return {"version": version, "problem": None, "broken": False}
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken build may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {"version": version, "problem": f"does not load: {reason}", "broken": True}
    return {"version": version, "problem": None, "broken": False}


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "memory_gb": _memory_gb(),
        "gpu": _gpu(),
    }


def _memory_gb() -> float | None:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return None


def _gpu() -> str | None:
    with contextlib.suppress(Exception):
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            return f"{torch.cuda.get_device_name()} x {torch.cuda.device_count()}"
    return None


def _engine() -> dict[str, Any]:
    from ecos_core.features.extractor import choose_engine

    try:
        chosen, reason = choose_engine(None)
    except EcosError as error:
        return {"chosen": None, "reason": str(error)}
    return {"chosen": chosen, "reason": reason}


def _confinement() -> dict[str, Any]:
    from ecos_core.features.confinement import available

    layers = available()
    missing = ", ".join(name for name, there in layers.items() if not there)
    return {
        "chosen": f"a process confined by {', '.join(n for n, there in layers.items() if there) or 'nothing'}",
        "reason": f"this system has no {missing}" if missing else "all layers are there",
    }


def _clustering() -> dict[str, Any]:
    from ecos_core.clustering.backends import choose_backend

    try:
        backend = choose_backend()
    except EcosError as error:
        return {"chosen": None, "reason": str(error)}
    return {"chosen": f"{backend.name} on {backend.device}", "reason": backend.reason}


def _lake(url: str) -> dict[str, Any]:
    from ecos_core.clustering.clustering import head
    from ecos_core.lake.lake import Lake

    lake = Lake.open(url)
    snapshot = lake.snapshot()
    extractors = [name for name in lake.folder("features").names() if len(name) == 64]
    return {
        "lake": str(lake.location),
        "images": snapshot.rows,
        "snapshot": snapshot.id[:16],
        "extractors": ", ".join(name[:16] for name in extractors) or "none: run  ecos index",
        "clustering": head(lake) or "none: run  ecos index",
    }
