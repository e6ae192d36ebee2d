"""`clusters: auto` asks what the client states, for nothing, and a sampling says where another number would serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ecos_core.clustering.clustering import head
from ecos_core.config import IndexConfig
from ecos_core.errors import RemoteError
from ecos_core.lake.lake import Lake
from ecos_core.stages.indexing import how_many_clusters
from tests.tiny_support import IMAGE_SIZE, ServedClient, ecos, ecos_json

pytestmark = pytest.mark.integration


def test_index_takes_what_the_client_states_and_keeps_it_while_it_is_near(
    tiny_lake: Path, client: ServedClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(tiny_lake, lake)
    asked = ["--client", client.url, "--token-file", str(client.token_file)]
    line = ["index", "--lake", str(lake), "--image-size", str(IMAGE_SIZE)]
    before = client.spent
    ecos_json(*line, "--clusters", "60")
    selection = tmp_path / "selection"
    sampling = [
        "sample",
        "--lake",
        str(lake),
        *asked,
        "--budget",
        "10",
        "--out",
        str(selection),
        "--sigma",
        "20",
    ]
    advised = ecos(capsys, *sampling, "--budget", "100000")
    assert "has 60 clusters; about 10 suit a client of 100 records" in advised.err
    assert f"ecos index --lake {lake} --client {client.url}" in advised.err and "--sigma 20" in advised.err
    told = ecos_json(*line, *asked, "--epsilon", "0.3")
    assert told["clusters"] == 10 and "100 records at noise sigma" in told["clusters_why"]
    near = ecos_json(*line, *asked, "--epsilon", "0.35")
    assert near["clustering"] == told["clustering"] and "as the newest clustering has" in near["clusters_why"]
    assert client.spent == before, "asking what it states is free"
    assert head(Lake.open(lake)) == told["clustering"]
    assert "clusters; about" not in ecos(capsys, *sampling).err


def test_a_client_that_is_away_leaves_the_newest_clustering(
    tiny_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecos_core.features.feature_set import FeatureSet

    monkeypatch.setattr("ecos_core.client.requester.FIRST_PAUSE_S", 0.01)
    lake = Lake.open(tiny_lake)
    (fingerprint,) = lake.folder("features").names()
    token = tiny_lake / "lake.json"
    away = {"url": "http://127.0.0.1:9", "token_file": str(token), "timeout_s": 0.2}
    config = IndexConfig.model_validate({"lake": str(tiny_lake), "client": away})
    found = how_many_clusters(config, 239, FeatureSet.open(lake, fingerprint))
    assert found.clusters == 8 and "does not answer now" in found.reason
    with pytest.raises(RemoteError):
        how_many_clusters(config, 239)
