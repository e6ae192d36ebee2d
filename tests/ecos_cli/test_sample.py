"""`ecos sample` against a real client process: what it prints, what it costs, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ecos_core.client.home import open_home
from ecos_core.features.devices import sees_gpu
from ecos_core.stages.scoring import read_scores
from ecos_core.storage import Location
from tests.client_support import serving
from tests.tiny_support import IMAGE_SIZE, ROOT, ServedClient, change_policy, client_process, ecos, ecos_json


def asked(lake: Path, client: ServedClient, out: Path, /, **options: Any) -> list[str]:
    """A command line; options override by name."""
    values = {
        "lake": lake, "client": client.url, "token-file": client.token_file, "budget": 40, "out": out, "epsilon": 0.58,
        **{name.replace("_", "-"): value for name, value in options.items()},
    }  # fmt: skip
    given = {name: value for name, value in values.items() if value is not None}
    return ["sample", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]


def test_it_says_what_was_chosen_and_what_it_cost(
    tiny_lake: Path, client: ServedClient, tmp_path: Path
) -> None:
    before = client.spent
    told = ecos_json(*asked(tiny_lake, client, tmp_path / "selection"))
    assert told["selected"] == told["budget"] == 40
    assert told["epsilon"] <= 0.58 and told["epsilon"] > 0.57
    assert told["delta"] == 1e-5
    assert (Path(told["selection"]) / "selection.parquet").exists()
    assert client.spent["events"] == before["events"] + 1
    receipt = json.loads((Path(told["receipt"]) / "manifest.json").read_text())["summary"]["receipt"]
    assert receipt["epsilon_release"] == told["epsilon"]


def test_a_repeat_reuses_the_answer_and_costs_nothing(
    tiny_lake: Path, client: ServedClient, tmp_path: Path
) -> None:
    line = asked(tiny_lake, client, tmp_path / "selection", epsilon=0.4)
    first = ecos_json(*line)
    spent = client.spent
    assert ecos_json(*line) == first
    elsewhere = ecos_json(*asked(tiny_lake, client, tmp_path / "other", epsilon=0.4))
    assert client.spent == spent
    assert picks(elsewhere) == picks(first)


def picks(told: dict[str, Any]) -> bytes:
    return (Path(told["selection"]) / "selection.parquet").read_bytes()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedClient]:
    """A client whose images are of a kind that the lake does not hold."""
    folder = tmp_path_factory.mktemp("stranger")
    rng = np.random.default_rng(4)
    for number in range(150):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        place = folder / "images" / "patches" / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    ecos_json(
        "client", "init", "--home", str(folder / "home"), "--images", str(folder / "images"), "--epsilon", "50",
        "--image-size", str(IMAGE_SIZE), "--records", "100", "--answer-after", "0.05",
    )  # fmt: skip
    with client_process(folder / "home") as served:
        yield served


def test_it_says_how_much_of_the_client_lies_outside_the_lake(
    tiny_lake: Path,
    client: ServedClient,
    stranger: ServedClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    near = ecos_json(*asked(tiny_lake, client, tmp_path / "near", epsilon=2.5))["outside"]
    line = asked(tiny_lake, stranger, tmp_path / "far", epsilon=2.5)
    told = ecos_json(*line)
    far = told["outside"]
    assert near["known"] and near["low"] < 0.1 and near["words"].endswith("it holds their kind.")
    assert far["known"] and far["low"] > 0.7 and "most of them near cluster" in far["words"]
    assert f"outside   {far['words']}" in ecos(capsys, *line).out
    assert stranger.spent["events"] == 1
    found, scores = read_scores(Location.of(told["receipt"]))
    assert found.outside == far and scores.outside is not None and scores.outside.sum() > 100
    report = ecos_json(*asked(tiny_lake, stranger, tmp_path / "paper", epsilon=2.5, sampler="ecos_paper"))
    assert report["outside"] is None


def test_a_client_of_before_is_asked_without_radii(
    tiny_lake: Path, client: ServedClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecos_core.client.protocol.RADII_SINCE", 99)
    told = ecos_json(*asked(tiny_lake, client, tmp_path / "before", epsilon=0.29))
    assert told["outside"] is None and told["selected"] == 40


WRONG = [
    ({"budget": 0}, "budget"),
    ({"budget": -5}, "budget"),
    ({"budget": 10_000}, "the lake holds 239 images"),
    ({"epsilon": -1}, "epsilon"),
    ({"epsilon": 0.5, "sigma": 3}, "exactly one of them"),
    ({"sampler": "best"}, "sampler"),
    ({"clustering": "none-such"}, "none-such"),
    ({"lake": "/nowhere/lake"}, "no lake here"),
    ({"client": "127.0.0.1:80"}, "url"),
    ({"client": None}, "--client"),
    ({"token_file": None}, "--token-file is missing"),
    ({"token_file": "/nowhere/token"}, "cannot be read"),
    ({"ca_file": "/nowhere/ca.pem", "client": "https://127.0.0.1:1"}, "PEM"),
    ({"denoise": "magic"}, "denoise"),
    ({"k_center_on": "tpu"}, "k_center_on"),
    pytest.param(
        {"k_center_on": "gpu"}, "set k_center_on to cpu", marks=pytest.mark.skipif(sees_gpu(), reason="a GPU")
    ),
    ({"out": "/proc/selection"}, "/proc/selection"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_spent(
    options: dict[str, Any],
    message: str,
    tiny_lake: Path,
    client: ServedClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = client.spent
    ended = ecos(capsys, *asked(tiny_lake, client, tmp_path / "out", **{"epsilon": 0.123, **options}))
    assert ended.code == 2
    assert message in ended.line
    assert client.spent == before
    assert not list((tmp_path / "out").glob("*"))


def test_an_output_folder_that_is_in_use_is_refused_before_anything_is_spent(
    tiny_lake: Path, client: ServedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    line = asked(tiny_lake, client, tmp_path / "used", epsilon=0.31)
    first = picks(ecos_json(*line))
    before = client.spent
    in_the_way = asked(tiny_lake, client, tmp_path / "file", epsilon=0.32)
    assert ecos(capsys, *in_the_way).code == 2
    other = asked(tiny_lake, client, tmp_path / "used", epsilon=0.32, budget=50)
    assert "holds another selection" in ecos(capsys, *other).line
    assert client.spent == before
    assert picks(ecos_json(*line)) == first
    assert (tmp_path / "file").read_text() == "mine"


def test_a_client_that_is_down_or_slow_is_a_failure_in_one_line(
    tiny_lake: Path,
    client: ServedClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr("ecos_core.client.requester.FIRST_PAUSE_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = ecos(capsys, *asked(tiny_lake, client, tmp_path / "out", client=slow, timeout=0.2))
        assert ended.code == 1 and "did not answer in time" in ended.line
    ended = ecos(capsys, *asked(tiny_lake, client, tmp_path / "out", client=slow))
    assert ended.code == 1 and "refuses the connection" in ended.line


def test_a_wrong_token_is_refused_without_being_told(
    tiny_lake: Path, client: ServedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = client.spent
    (tmp_path / "token").write_text("wrong-and-secret")
    line = asked(tiny_lake, client, tmp_path / "out", token_file=tmp_path / "token", epsilon=0.2)
    ended = ecos(capsys, *line)
    assert ended.code == 2 and "token" in ended.line and "secret" not in ended.err
    assert client.spent == before


def test_another_extractor_and_an_exhausted_budget_are_refused(
    tiny_lake: Path, client_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poor, own, other = tmp_path / "poor", tmp_path / "own", tmp_path / "lake"
    shutil.copytree(client_home, poor)
    change_policy(poor, epsilon=0.3)
    for copy in (own, other):  # receipts of the client that the home is a copy of would give it away
        shutil.copytree(tiny_lake, copy, ignore=shutil.ignore_patterns("receipts"))
    ecos_json("index", "--lake", str(other), "--image-size", "48", "--clusters", "4")
    with serving(open_home(poor)) as url:
        client = ServedClient(poor, url, 0)
        ended = ecos(capsys, *asked(own, client, tmp_path / "out"))
        assert ended.code == 2 and "privacy budget" in ended.line and "limit 0.3" in ended.line
        ended = ecos(capsys, *asked(other, client, tmp_path / "out", epsilon=0.1))
        assert ended.code == 2 and "extractor" in ended.line
        assert client.spent["events"] == 0


def test_a_disk_that_fills_up_after_the_answer_costs_nothing_twice(
    tiny_lake: Path,
    client: ServedClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    line = asked(tiny_lake, client, tmp_path / "out", epsilon=0.27)
    with monkeypatch.context() as full:
        full.setattr("ecos_core.stages.sampling.check_writable", lambda *_: None)
        full.setattr("ecos_core.stages.selecting.check_writable", lambda *_: None)
        full.setattr(os, "fsync", no_space)
        ended = ecos(capsys, *line)
    assert ended.code in (1, 2) and "the disk is full" in ended.line
    assert not list(tmp_path.rglob("*.parquet"))
    spent = client.spent
    assert ecos_json(*line)["selected"] == 40
    assert client.spent == spent


def no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.integration
def test_a_killed_run_goes_on_to_the_same_selection(
    tiny_lake: Path, client: ServedClient, tmp_path: Path
) -> None:
    """Killed at four points of its life, then run to its end: the picks of a run that was left alone, paid once."""
    whole = picks(ecos_json(*asked(tiny_lake, client, tmp_path / "whole", epsilon=0.21)))
    before = client.spent
    line = asked(tiny_lake, client, tmp_path / "killed", epsilon=0.22)
    command = [sys.executable, "-m", "ecos_cli.main", *line, "--json"]
    began = time.monotonic()
    kill_when(command, lambda: client.spent["events"] > before["events"])
    for share in (0.3, 0.6):
        kill_after(command, share * (time.monotonic() - began))
    ecos_json(*line)
    assert client.spent["events"] == before["events"] + 1
    assert not [found for found in (tmp_path / "killed").rglob("*") if found.name.startswith(".tmp")]
    again = asked(tiny_lake, client, tmp_path / "again", epsilon=0.22)
    assert picks(ecos_json(*again)) == picks(ecos_json(*line)) != whole


def kill_when(command: list[str], happened: Callable[[], bool]) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    while process.poll() is None and not happened():
        time.sleep(0.02)
    process.kill()
    process.wait()


def kill_after(command: list[str], seconds: float) -> None:
    end = time.monotonic() + min(seconds, 8)
    kill_when(command, lambda: time.monotonic() > end)
