import numpy as np
import pytest

from ecos_core.clustering.members import Members
from ecos_core.clustering.restricted import RestrictedPool, in_clusters
from ecos_core.errors import InputError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.licences import licence_filter
from ecos_core.lake.lookup import image_files
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.samplers import sampler_named
from tests.ecos_core.lake.test_ingest import make_images, rows


class TwoClusters:
    """A pool of the lake's images in two clusters, by the parity of their place."""

    def __init__(self, ids):
        self.ids = [np.array(ids[index::2], dtype=object) for index in (0, 1)]
        self.cluster_sizes = np.array([len(part) for part in self.ids])
        self.centroids = np.zeros((2, 3), np.float32)
        self.fingerprint = "f"

    def sample_ids(self, cluster):
        return self.ids[cluster]

    def members(self, cluster):
        ids = self.ids[cluster]
        features = np.random.default_rng(cluster).normal(size=(len(ids), 3)).astype(np.float32)
        return Members(ids, np.linalg.norm(features, axis=1).astype(np.float32), features)


@pytest.fixture
def lake(tmp_path):
    lake = Lake.create(tmp_path / "lake")
    for name, licence, first in (("free", "CC0-1.0", 0), ("bought", "Proprietary", 5)):
        make_images(tmp_path / name, 5, first=first)
        ingest(tmp_path / name, lake, licence=licence)
    return lake


def test_what_may_not_be_used_is_never_chosen(lake):
    table = rows(lake, ["sample_id", "licence"])
    free = {row["sample_id"] for row in table if row["licence"] == "CC0-1.0"}
    licences = licence_filter(lake, lake.snapshot(), ["CC0-1.0"])
    pool = RestrictedPool(TwoClusters([row["sample_id"] for row in table]), licences, None)
    assert pool.size == 5 and pool.cluster_sizes.sum() == 5
    for cluster in (0, 1):
        assert set(pool.members(cluster).sample_ids) <= free
        assert len(pool.members(cluster)) == pool.cluster_sizes[cluster]
    for sampler in ("random", "k_center"):
        chosen = sampler_named(sampler)(pool, 5, scores=None, config=SamplerConfig(), seed=1)
        assert set(chosen.sample_id.tolist()) == free


def test_groups_reach_the_sampler(lake):
    ids = [row["sample_id"] for row in rows(lake, ["sample_id"])]
    clusters = TwoClusters(ids)
    pool = RestrictedPool(clusters, None, in_clusters(clusters, dict.fromkeys(ids[:3], ids[0])))
    assert pool.size == 10
    groups = np.concatenate([pool.members(cluster).duplicate_groups for cluster in (0, 1)])
    assert sorted(groups.tolist()).count(ids[0]) == 3 and groups.tolist().count("") == 7
    config = SamplerConfig(allow_fewer=True)
    scores = Scores(np.array([50, 50]), 1.0)
    chosen = sampler_named("ecos")(pool, 10, scores=scores, config=config, seed=1)
    assert len(set(chosen.sample_id.tolist()) & set(ids[:3])) == 1


def test_a_forbidden_image_does_not_stand_for_its_group(lake):
    table = rows(lake, ["sample_id", "licence"])
    by_licence = {
        licence: sorted(row["sample_id"] for row in table if row["licence"] == licence)
        for licence in ("CC0-1.0", "Proprietary")
    }
    # The forbidden one has the smallest id or lies nearest, whichever decides who stays of a group.
    pairs = list(zip(by_licence["CC0-1.0"], by_licence["Proprietary"], strict=True))
    clusters = TwoClusters([row["sample_id"] for row in table])
    groups = in_clusters(clusters, {one: min(pair) for pair in pairs for one in pair})
    pool = RestrictedPool(clusters, licence_filter(lake, lake.snapshot(), ["CC0-1.0"]), groups)
    grouped = pool.grouped()
    assert grouped is not None and set(grouped.sample_ids.tolist()) <= set(by_licence["CC0-1.0"])
    scores = Scores(np.array([50, 50]), 1.0)
    for sampler in ("random", "k_center", "ecos"):
        config = SamplerConfig(allow_fewer=True)
        chosen = sampler_named(sampler)(pool, 5, scores=scores, config=config, seed=1)
        assert set(chosen.sample_id.tolist()) == set(by_licence["CC0-1.0"])


def test_training_does_not_read_what_the_lakes_rule_forbids(lake):
    ids = [row["sample_id"] for row in rows(lake, ["sample_id"])]
    assert len(image_files(lake, lake.snapshot(), ids)) == 10
    lake.set_licence_rule(["CC0-1.0"])
    with pytest.raises(InputError, match=r"5 sample\(s\) have a licence that is not allowed"):
        image_files(lake, lake.snapshot(), ids)
