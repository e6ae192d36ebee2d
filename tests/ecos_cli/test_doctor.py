import importlib
import importlib.metadata
import json

import pytest
from typer.testing import CliRunner

from ecos_cli import health
from ecos_cli.main import app

run = CliRunner().invoke


def test_reports_versions_choices_and_reasons() -> None:
    done = run(app, ["doctor", "--json"], catch_exceptions=False)
    report = json.loads(done.stdout)
    assert done.exit_code == 0
    assert report["packages"]["base"]["numpy"]["version"] == importlib.metadata.version("numpy")
    assert report["choices"]["features"]["chosen"] in ("onnx", "torch")
    assert all(choice["reason"] for choice in report["choices"].values())
    assert set(report["packages"]) == {"base", "client", "cloud", "ray", "demo"}
    assert report["broken"] == []


def test_names_the_command_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.version

    def without_ray(name: str) -> str:
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "version", without_ray)
    told = run(app, ["doctor"], catch_exceptions=False).stdout
    assert "missing [ray]: pip install 'ecos-sampling[ray]'" in told
    assert "missing [client]" not in told


def test_a_package_that_does_not_load_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    load = importlib.import_module

    def broken(name: str, package: str | None = None) -> object:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")
        return load(name, package)

    monkeypatch.setattr(health.importlib, "import_module", broken)
    done = run(app, ["doctor"], catch_exceptions=False)
    assert done.exit_code == 1
    assert "does not load: operator torchvision::nms does not exist" in done.stdout
