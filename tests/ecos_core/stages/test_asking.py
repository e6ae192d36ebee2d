"""Two rounds and moments on a tiny real lake, with a real client process: what they cost, and that a repeat is free."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecos_core.clustering.clustering import Clustering
from ecos_core.lake.lake import Lake
from tests.tiny_support import CLUSTERS, ServedClient, change_policy, client_process, ecos, ecos_json

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def asked_client(client_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedClient]:
    home = tmp_path_factory.mktemp("asked") / "home"
    shutil.copytree(client_home, home)
    change_policy(home, operations=["score", "moments"])
    with client_process(home) as served:
        yield served


def line(lake: Path, client: ServedClient, out: Path, *more: str) -> list[str]:
    return [
        "sample", "--lake", str(lake), "--client", client.url, "--token-file", str(client.token_file),
        "--budget", "30", "--epsilon", "1.5", "--out", str(out), *more,
    ]  # fmt: skip


def test_a_second_round_costs_what_one_does_and_leaves_the_lake_s_clustering(
    tiny_lake: Path, asked_client: ServedClient, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(tiny_lake, lake)
    before = asked_client.spent["events"]
    command = line(lake, asked_client, tmp_path / "picks", "--rounds", "2")
    told = ecos_json(*command)
    opened = Lake.open(str(lake))
    refined = Clustering.open(opened, told["clustering"])
    assert told["selected"] == 30 and told["epsilon"] == pytest.approx(1.5, rel=0.01)
    assert asked_client.spent["events"] == before + 2
    assert refined.clusters > CLUSTERS and refined.rows == Clustering.open(opened).rows
    assert Clustering.open(opened).clusters == CLUSTERS, "the newest clustering stays"
    spent = asked_client.spent
    assert ecos_json(*command)["selection"] == told["selection"] and asked_client.spent == spent


def test_moments_serve_a_later_clustering_for_nothing(
    tiny_lake: Path, asked_client: ServedClient, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(tiny_lake, lake)
    told = ecos_json(*line(lake, asked_client, tmp_path / "first", "--moments", "4"))
    assert told["selected"] == 30 and told["epsilon"] == pytest.approx(1.5, rel=0.01)
    spent = asked_client.spent
    ecos_json("index", "--lake", str(lake), "--image-size", "32", "--clusters", "12", "--recluster")
    again = ecos_json(*line(lake, asked_client, tmp_path / "second", "--moments", "4"))
    assert again["clustering"] != told["clustering"] and again["selected"] == 30
    assert asked_client.spent == spent


def test_a_first_round_is_not_paid_where_the_second_would_be_refused(
    tiny_lake: Path, client_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, home = tmp_path / "lake", tmp_path / "client" / "home"
    shutil.copytree(tiny_lake, lake)
    shutil.copytree(client_home, home)
    change_policy(home, epsilon=1.9)

    def command(served: ServedClient, epsilon: str, rounds: str) -> list[str]:
        return line(lake, served, tmp_path / f"picks-{epsilon}", "--epsilon", epsilon, "--rounds", rounds)

    with client_process(home) as served:
        ended = ecos(capsys, *command(served, "2", "2"))
        assert ended.code == 2 and "both questions would bring" in ended.line and "limit 1.9;" in ended.line
        assert served.spent["events"] == 0
        ecos_json(*command(served, "1.5", "1"))
        spent = served.spent
        ended = ecos(capsys, *command(served, "1.4", "2"))
        assert ended.code == 2 and "spent so far 1.5" in ended.line and served.spent == spent
        told = ecos_json(*command(served, "0.9", "2"))
        spent = served.spent
        assert spent["events"] == 3
        assert ecos_json(*command(served, "0.9", "2"))["selection"] == told["selection"], "room or not"
        assert served.spent == spent
    change_policy(home, clusters_at_most=CLUSTERS + 1)
    with client_process(home) as served:
        ended = ecos(capsys, *command(served, "0.1", "2"))
        assert ended.code == 2 and f"takes at most {CLUSTERS + 1} clusters" in ended.line
        assert served.spent == spent


def test_what_cannot_be_asked_is_refused_before_anything_is_spent(
    tiny_lake: Path, asked_client: ServedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spent = asked_client.spent
    both = line(tiny_lake, asked_client, tmp_path / "x", "--rounds", "2", "--moments", "4")
    ended = ecos(capsys, *both)
    assert ended.code == 2 and "not both" in ended.line
    unit = line(tiny_lake, asked_client, tmp_path / "x", "--moments", "4", "--adjacency", "replace")
    assert "add-remove only" in ecos(capsys, *unit).line
    assert asked_client.spent == spent
