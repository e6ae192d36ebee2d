"""`ecos bench`: finds the checkout's benchmarks, passes options on, fails below the bar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ecos_cli import bench
from ecos_core.errors import InputError

BENCHMARK = '''
def run(quick: bool = False, budgets: tuple[int, ...] = (1, 2), bar: float = 2.0):
    """A benchmark for tests."""
    return [{"name": f"budgets {sum(budgets)}", "ours_s": 1.0, "peer": "peer", "peer_s": 1.5,
             "ratio": 1.5, "bar": bar, "ok": 1.5 >= bar}]
'''


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "shared.py").write_text("")
    (folder / "speed.py").write_text(BENCHMARK)
    monkeypatch.setattr(bench, "benchmarks_folder", lambda: folder)
    namespace: dict[str, Any] = {}
    exec(BENCHMARK, namespace)
    monkeypatch.setattr(bench, "_load", lambda _folder, _name: namespace["run"])
    return tmp_path


def invoke(*words: str) -> Any:
    return CliRunner().invoke(bench.app, list(words))


def test_lists_only_what_can_run(checkout: Path) -> None:
    assert invoke().stdout.split() == ["speed"]


def test_options_reach_the_benchmark_with_their_types(checkout: Path) -> None:
    result = invoke("speed", "--budgets", "3,4", "--bar=1.2", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["rows"][0]["name"] == "budgets 7"
    saved = json.loads((checkout / "benchmarks" / "results" / "speed.json").read_text())
    assert saved["machine"]["processor"]
    assert saved["rows"] == report["rows"]


def test_below_the_bar_fails_and_a_quick_run_only_shows_it(checkout: Path) -> None:
    assert invoke("speed", "--no-save").exit_code == 1
    quick = invoke("speed", "--quick")
    assert quick.exit_code == 0
    assert "NO" in quick.stdout
    assert not (checkout / "benchmarks" / "results").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("slow",), "choose from speed"),
        (("speed", "--colour", "red"), "has no option '--colour'; it has --budgets, --bar"),
        (("speed", "--budgets", "many"), "expected something like"),
        (("speed", "--data-root", "here"), "needs no data"),
    ],
)
def test_mistakes_are_named(checkout: Path, words: tuple[str, ...], message: str) -> None:
    result = invoke(*words)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_without_a_checkout_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "site" / "ecos_cli" / "bench.py"))
    with pytest.raises(InputError, match="checkout"):
        bench.benchmarks_folder()
