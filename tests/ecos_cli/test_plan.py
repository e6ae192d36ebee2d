"""`ecos plan` as a user types it."""

from __future__ import annotations

import json
import sys

import pytest

from ecos_cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ecos", "plan", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_sigma_for_an_epsilon(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--epsilon", "0.582", "--delta", "1e-5", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sigma"] == pytest.approx(6.12, rel=0.005)
    assert found["epsilon"] == pytest.approx(0.582, rel=0.005)
    assert found["epsilon_autodp"] == pytest.approx(0.582, rel=0.005)
    assert (found["delta"], found["adjacency"], found["gamma"], found["releases"]) == (
        1e-5,
        "add-remove",
        1,
        1,
    )


@pytest.mark.parametrize(("adjacency", "epsilon"), [("add-remove", 0.2844), ("replace", 0.4148)])
def test_epsilons_of_a_sigma(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], adjacency: str, epsilon: float
) -> None:
    assert run(monkeypatch, "--sigma", "10", "--gamma", "0.8", "--adjacency", adjacency, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["epsilon"] == pytest.approx(epsilon, rel=0.005)
    assert found["epsilon_paper"] == pytest.approx(0.5821, rel=0.005)


def test_what_the_noise_does_to_the_scores(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--epsilon", "0.582", "--clusters", "100", "--records", "1000") == 0
    text = capsys.readouterr().out
    assert "signal to noise       1.63" in text
    assert run(monkeypatch, "--epsilon", "0.582", "--clusters", "100", "--json") == 0
    assert json.loads(capsys.readouterr().out)["scores"]["records_needed"] == 1838


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--epsilon", "1", "--sigma", "5"),
        ("--epsilon", "0"),
        ("--epsilon", "-1"),
        ("--epsilon", "nan"),
        ("--sigma", "-3"),
        ("--sigma", "inf"),
        ("--epsilon", "1", "--delta", "0"),
        ("--epsilon", "1", "--delta", "2"),
        ("--epsilon", "1", "--gamma", "1.5"),
        ("--epsilon", "1", "--releases", "0"),
        ("--epsilon", "1", "--adjacency", "everyone"),
        ("--epsilon", "1", "--clusters", "0"),
        ("--epsilon", "1", "--records", "0"),
        ("--epsilon", "abc"),
    ],
)
def test_wrong_input_is_told_in_words_and_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.strip()
