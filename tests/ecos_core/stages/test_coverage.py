"""What a client's answer says of the lake it was made for: kept with the scores, told with the selection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecos_core.clustering.clustering import Clustering, cluster_lake
from ecos_core.clustering.composition import composition
from ecos_core.clustering.pool import LakePool
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor
from ecos_core.lake.lake import Lake
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.store import read_selection
from ecos_core.stages.account import Account
from ecos_core.stages.coverage import outside_statement
from ecos_core.stages.scoring import read_scores, write_scores
from ecos_core.stages.selecting import Choice, Selecting
from ecos_core.storage import Location

Grow = Callable[[int, int], Lake]
ACCOUNT = Account(0.5, 0.6, 0.5, 1e-5, 2.0, "add-remove")


@pytest.fixture
def clustered(grow: Grow, colour_extractor: Extractor) -> tuple[Lake, Clustering]:
    for seed in (1, 2):
        lake = grow(100, seed)
    return lake, cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=16, seed=3)


def answer(clustering: Clustering, outside: int) -> Scores:
    regions = clustering.reach.regions
    far = np.zeros(regions.max() + 1, np.int64)
    far[-1] = outside
    return Scores(np.full(clustering.clusters, 20), 2.0, far, regions)


def test_composition_counts_every_member_once(clustered: tuple[Lake, Clustering]) -> None:
    lake, clustering = clustered
    found = composition(lake, clustering, "domain")
    pool = LakePool(lake, clustering)
    for cluster in range(clustering.clusters):
        domains = [str(name or "not stated") for name in pool.members(cluster).domains]
        assert {name: domains.count(name) for name in found.names} == dict(
            zip(found.names, found.counts[cluster].tolist(), strict=True)
        )
    assert composition(lake, clustering, "source").counts.sum() == clustering.rows


def test_a_far_client_is_told_where_it_lies(clustered: tuple[Lake, Clustering]) -> None:
    lake, clustering = clustered
    told = outside_statement(lake, clustering, answer(clustering, 900))
    assert told is not None and told["known"] and told["low"] > 0.6
    assert set(told["clusters"]) <= set(np.flatnonzero(clustering.reach.regions == 1).tolist())
    assert told["words"].startswith("About 7") and "most of them near cluster" in told["words"]


def test_a_near_client_and_one_of_too_few_records(clustered: tuple[Lake, Clustering]) -> None:
    lake, clustering = clustered
    near = outside_statement(lake, clustering, answer(clustering, 15))
    assert near is not None and near["words"].endswith("what this lake covers: it holds their kind.")
    few = Scores(np.zeros(16, np.int64), 30.0, np.array([9, 3]), clustering.reach.regions)
    told = outside_statement(lake, clustering, few)
    assert told is not None and not told["known"] and "cannot be told" in told["words"]
    assert outside_statement(lake, clustering, Scores(np.zeros(16, np.int64), 3.0)) is None


def test_scores_and_selection_keep_what_was_answered(
    clustered: tuple[Lake, Clustering], tmp_path: Path
) -> None:
    lake, clustering = clustered
    given = answer(clustering, 900)
    statement = outside_statement(lake, clustering, given)
    stored = write_scores(
        clustering, given.noisy, Location.of(tmp_path / "scores"), ACCOUNT, None,
        outside=given.outside, statement=statement,
    )  # fmt: skip
    found, scores = read_scores(stored.folder)
    assert found.outside == statement
    np.testing.assert_array_equal(scores.outside, given.outside)
    np.testing.assert_array_equal(scores.regions, given.regions)
    choice = Choice(30, "ecos", SamplerConfig(power="auto"), 0)
    chosen = Selecting(lake, clustering, choice, Location.of(tmp_path / "selection")).select(stored.folder)
    selection, manifest = read_selection(chosen.folder)
    assert manifest.summary["outside"] == statement
    assert all("seats spread" in reason for reason in selection.reason)


def test_an_answer_of_before_is_read_as_it_was(clustered: tuple[Lake, Clustering], tmp_path: Path) -> None:
    _, clustering = clustered
    stored = write_scores(clustering, np.arange(16), Location.of(tmp_path / "scores"), ACCOUNT, None)
    found, scores = read_scores(stored.folder)
    assert found.outside is None and scores.outside is None
