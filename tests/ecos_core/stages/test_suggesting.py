"""First answers from a real client's labels: what they cost, what they are worth, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ecos_core.client.connection import Release
from ecos_core.config import PrivacyConfig
from ecos_core.labelling.preannotations import read_preannotations
from ecos_core.privacy.planner import plan_knn
from ecos_core.stages.suggesting import Question, _ask_histogram, _ask_knn, _Picks
from tests.tiny_support import ServedClient, change_policy, client_process, ecos, ecos_json

DIGITS = tuple(str(digit) for digit in range(10))
LABELS = ",".join(DIGITS)
PICKS = 40


@pytest.fixture(scope="module")
def labeller(client_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedClient]:
    """A client that answers questions for labels, rich enough for a test."""
    home = tmp_path_factory.mktemp("labeller") / "home"
    shutil.copytree(client_home, home)
    change_policy(home, operations=["score", "label", "label-histogram"], epsilon=1e5)
    with client_process(home) as served:
        yield served


@pytest.fixture(scope="module")
def selection(tiny_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("picked") / "selection"
    ecos_json(
        "sample", "--lake", str(tiny_lake), "--sampler", "random", "--budget", str(PICKS), "--out", str(out)
    )
    return out


def asked(lake: Path, selection: Path, client: ServedClient, out: Path, **options: Any) -> list[str]:
    values = {
        "lake": lake, "client": client.url, "token-file": client.token_file, "labels": LABELS, "out": out,
        "epsilon": 4, **options,
    }  # fmt: skip
    return [
        "handoff", "suggest", str(selection),
        *(part for name, value in values.items() for part in (f"--{name}", str(value))),
    ]  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize(
    ("method", "options", "asked_about"),
    [("private-knn", {"neighbours": 12, "first": 6}, 6), ("label-histogram", {}, PICKS)],
)
def test_answers_are_paid_for_once_and_reach_the_labellers(
    tiny_lake: Path,
    selection: Path,
    labeller: ServedClient,
    tmp_path: Path,
    method: str,
    options: Any,
    asked_about: int,
) -> None:
    line = asked(tiny_lake, selection, labeller, tmp_path / "guesses", method=method, **options)
    told = ecos_json(*line)
    assert told["asked"] == asked_about and 0 <= told["answered"] <= asked_about
    assert 3.9 < told["privacy"]["epsilon_release"] <= 4
    spent = labeller.spent
    assert ecos_json(*line) == told
    elsewhere = asked(tiny_lake, selection, labeller, tmp_path / "again", method=method, **options)
    assert ecos_json(*elsewhere)["privacy"]["epsilon_release"] == told["privacy"]["epsilon_release"]
    assert labeller.spent == spent

    guesses = read_preannotations(tmp_path / "guesses")
    assert len(guesses.by_sample) == told["answered"]
    assert all(guess.score is not None and 0 < guess.score <= 1 for guess in guesses.by_sample.values())

    batch = tmp_path / "batch"
    report = ecos_json(
        "handoff", "export", str(selection), "--lake", str(tiny_lake), "--out", str(batch), "--labels", LABELS,
        "--preannotations", str(tmp_path / "guesses"),
    )  # fmt: skip
    assert report["preannotated"] == told["answered"]
    predictions = [
        task["predictions"][0]
        for task in json.loads((batch / "tasks.json").read_text())
        if "predictions" in task
    ]
    assert len(predictions) == told["answered"]
    assert {prediction["model_version"] for prediction in predictions} <= {f"{method} (epsilon 4)"}
    summary = json.loads((batch / "manifest.json").read_text())["summary"]
    assert summary["privacy"] == told["privacy"]
    if told["answered"]:
        assert f"by {method}, epsilon 4 at delta 1e-05" in (batch / "README.md").read_text()


WRONG = [
    ({"labels": "one"}, "at least two"),
    ({"method": "magic"}, "private-knn, label-histogram"),
    ({"epsilon": 0}, "epsilon"),
    ({"token-file": "/nowhere/token"}, "cannot be read"),
    ({"epsilon": 0.5, "method": "private-knn"}, "mostly chance"),
]


@pytest.mark.integration
@pytest.mark.parametrize(("changed", "said"), WRONG)
def test_mistakes_cost_a_line_and_no_privacy(
    tiny_lake: Path, selection: Path, labeller: ServedClient, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], changed: dict[str, Any], said: str,
) -> None:  # fmt: skip
    before = labeller.spent
    ended = ecos(capsys, *asked(tiny_lake, selection, labeller, tmp_path / "out", **changed))
    assert ended.code == 2 and said in ended.line
    assert labeller.spent == before


@pytest.mark.integration
def test_another_question_does_not_overwrite_an_answer(
    tiny_lake: Path,
    selection: Path,
    labeller: ServedClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "guesses"
    ecos_json(*asked(tiny_lake, selection, labeller, out, method="label-histogram"))
    ended = ecos(capsys, *asked(tiny_lake, selection, labeller, out, method="label-histogram", epsilon=3))
    assert (
        ended.code == 2 and "holds another suggestions" in ended.line and "of another privacy" in ended.line
    )


@pytest.mark.integration
def test_a_client_that_does_not_offer_labels_is_believed(
    tiny_lake: Path, selection: Path, client: ServedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = ecos(capsys, *asked(tiny_lake, selection, client, tmp_path / "out", method="label-histogram"))
    assert ended.code == 1 or ended.code == 2
    assert "'label-histogram' is not allowed by the client's policy" in ended.line


class Answering:
    """A connection to a client that answers with ``values``."""

    def __init__(self, values: list[Any]) -> None:
        self.values, self.asked = np.array(values), {}

    def label(self, points: Any, classes: Any, **options: Any) -> Release:
        self.asked = {"points": points, "classes": classes, **options}
        return Release(self.values, receipt=None)  # type: ignore[arg-type]  # not looked at

    label_histogram = label


def picks(cluster: list[int]) -> _Picks:
    clustering = SimpleNamespace(fingerprint="f", centroids=np.array([[0.0, 0], [1, 0], [2, 0]], np.float32))
    features = np.array([[row, 0.0] for row in cluster], np.float32)
    return _Picks([f"{row:064x}" for row in range(len(cluster))], np.array(cluster), features, clustering)  # type: ignore[arg-type]


def test_a_place_in_the_list_of_classes_becomes_its_name() -> None:
    client = Answering([1, -1, 0, 1])
    question = Question(("cat", "dog"), neighbours=8)
    _, labels, confidence, how = _ask_knn(client, picks([0, 0, 2, 0]), PrivacyConfig(epsilon=1.0), question)  # type: ignore[arg-type]
    assert labels == ["dog", None, "cat", "dog"]
    assert confidence[[0, 3]] == pytest.approx(2 / 4) and np.isnan(confidence[1])
    assert client.asked["threshold"] == 4 and client.asked["screening_sigma"] == how["sigma"]
    expected = plan_knn(1.0, 1e-5, queries=4)
    assert how == {"sigma": expected, "neighbours": 8, "threshold": 4}


def test_a_cluster_gives_its_commonest_label_where_private_images_are() -> None:
    client = Answering([[0, 90, 0], [0, 0, 0], [80, 0, 5]])
    question = Question(("cat", "dog", "owl"), "label-histogram")
    privacy = PrivacyConfig(epsilon=None, sigma=6.0)
    _, labels, confidence, how = _ask_histogram(client, picks([2, 0, 1, 0]), privacy, question)  # type: ignore[arg-type]
    assert labels == ["cat", "dog", None, "dog"] and how == {"sigma": 6.0}
    assert (confidence > 1 / 3).all() and (confidence <= 1).all()
