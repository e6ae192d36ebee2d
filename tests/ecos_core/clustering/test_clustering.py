from collections.abc import Callable

import numpy as np
import pytest

from ecos_core.clustering import runs
from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.clustering import REACH_NAME, Clustering, cluster_lake
from ecos_core.clustering.pool import LakePool
from ecos_core.clustering.reach import BINS, Reach
from ecos_core.errors import InputError
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor
from ecos_core.lake.lake import Lake
from ecos_core.storage import verify_shards

Grow = Callable[[int, int], Lake]


@pytest.fixture(autouse=True)
def several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small runs and row groups, so that a small lake crosses their borders."""
    monkeypatch.setattr(runs, "RUN_BYTES", 12 * 2 * 25)
    monkeypatch.setattr(runs, "ROW_GROUP_BYTES", 64)


def parquet_files(clustering: Clustering) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in clustering.root.path.rglob("*.parquet")}


def everything(lake: Lake, extractor: Extractor) -> tuple[np.ndarray, np.ndarray]:
    return extract_lake(lake, extractor).load()


def test_every_image_is_a_member_of_its_nearest_centroid(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(80, 1)
    clustering = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=7, seed=3)
    assert len(clustering.runs) > 1
    verify_shards(clustering.root, clustering.manifest)
    ids, features = everything(lake, colour_extractor)
    cluster, distance = nearest(features, clustering.centroids)
    expected = dict(zip(ids, zip(cluster, distance, strict=True), strict=True))
    rows = {
        row["sample_id"]: row
        for shard in lake.snapshot().shards
        for row in lake.read_images(shard).to_pylist()
    }
    pool, seen = LakePool.open(lake), []
    assert pool.size == 80 and pool.fingerprint == colour_extractor.fingerprint
    for number in range(7):
        members = pool.members(number)
        assert len(members) == pool.cluster_sizes[number]
        for position, sample_id in enumerate(members.sample_ids):
            assert expected[sample_id] == (number, pytest.approx(members.distances[position]))
            assert members.labels is not None and members.labels[position] == rows[sample_id]["label"]
            assert members.domains is not None and members.domains[position] == rows[sample_id]["domain"]
            np.testing.assert_array_equal(members.features[position], features[ids == sample_id][0])
        seen += members.sample_ids.tolist()
    assert sorted(seen) == sorted(ids)


def test_statistics_are_those_of_the_members(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(60, 1)
    clustering = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=5)
    pool, statistics = LakePool(lake, clustering), clustering.statistics
    total = 0.0
    for number in range(5):
        distances = pool.members(number).distances.astype(np.float64)
        assert statistics.distance_sums[number] == pytest.approx(distances.sum())
        assert statistics.square_sums[number] == pytest.approx((distances**2).sum())
        assert statistics.largest[number] == pytest.approx(distances.max())
        np.testing.assert_allclose(statistics.nearest_distances[number], np.sort(distances)[: runs.MONTAGE])
        total += (distances**2).sum()
    assert clustering.summary["mean_square_distance"] == pytest.approx(total / 60)


def test_growth_assigns_only_new_images_to_the_same_centroids(
    grow: Grow, colour_extractor: Extractor
) -> None:
    lake = grow(40, 1)
    first = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    files = parquet_files(first)
    lake = grow(30, 2)
    second = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    assert second.id != first.id and second.parent == first.id
    np.testing.assert_array_equal(second.centroids, first.centroids)
    assert (
        files.items()
        <= {str(path): path.stat().st_mtime_ns for path in first.root.path.rglob("*.parquet")}.items()
    )
    assert second.rows == 70 and second.summary["new_rows"] == 30
    assert 0.5 < second.summary["drift"] < 2
    assert int(second.cluster_sizes.sum()) == 70
    assert Clustering.open(lake).id == second.id
    assert LakePool.open(lake, first.id).size == 40


def test_drift_tells_that_new_images_are_unlike_the_old(
    grow: Grow, colour_extractor: Extractor, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    from ecos_core.lake.ingest import ingest
    from tests.lake_support import picture

    lake = grow(40, 1)
    cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    rng = np.random.default_rng(9)
    for number in range(10):
        where = tmp_path / "odd" / f"{number}.png"
        where.parent.mkdir(exist_ok=True)
        where.write_bytes(picture(rng, (230, 230, 230)))
    ingest(tmp_path / "odd", lake)
    assert cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4).summary["drift"] > 3


def test_reclustering_and_other_parameters_fit_anew(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(40, 1)
    first = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    assert cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4).id == first.id
    other = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=5)
    assert other.clusters == 5 and other.parent is None
    lake = grow(30, 2)
    features = extract_lake(lake, colour_extractor)
    again = cluster_lake(lake, features, clusters=5, recluster=True)
    assert again.parent is None
    assert not np.array_equal(again.centroids, other.centroids)
    assert Clustering.open(lake, first.id).rows == 40


def test_an_interrupted_assignment_goes_on_to_the_same_clustering(
    grow: Grow, colour_extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecos_core.clustering import clustering as module

    lake, write_run = grow(80, 1), runs.write_run
    features = extract_lake(lake, colour_extractor)
    written = []

    def interrupted(*arguments: object) -> runs.RunDone:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write_run(*arguments))  # type: ignore[arg-type]
        return written[-1]

    monkeypatch.setattr(runs, "write_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cluster_lake(lake, features, clusters=6)
    with pytest.raises(InputError, match="not clustered yet"):
        Clustering.open(lake)
    monkeypatch.setattr(module, "fit_kmeans", None)
    monkeypatch.setattr(runs, "write_run", write_run)
    resumed = cluster_lake(lake, features, clusters=6)
    monkeypatch.undo()
    assert resumed.rows == 80 and len(resumed.runs) > 2
    verify_shards(resumed.root, resumed.manifest)


def test_errors_name_what_is_wrong(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(20, 1)
    with pytest.raises(InputError, match="not clustered yet"):
        LakePool.open(lake)
    with pytest.raises(InputError, match="more clusters than images"):
        cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=21)
    clustering = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=3)
    with pytest.raises(InputError, match=f"no clustering 'beef'.*{clustering.id}"):
        Clustering.open(lake, "beef")
    with pytest.raises(InputError, match="no cluster 3"):
        LakePool.open(lake).members(3)


def test_radii_hold_95_percent_of_each_clusters_members(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(80, 1)
    clustering = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=3, seed=1)
    pool = LakePool(lake, clustering)
    for number in range(3):
        distances = np.sort(pool.members(number).distances)
        least = distances[int(np.ceil(0.95 * len(distances))) - 1]
        assert least <= clustering.reach.radii[number] <= least + distances[-1] / BINS
    together = Reach.of_members(
        np.concatenate([np.full(len(pool.members(n)), n) for n in range(3)]),
        np.concatenate([pool.members(n).distances for n in range(3)]),
        clustering.centroids,
    )
    np.testing.assert_array_equal(clustering.reach.radii, together.radii)


def test_radii_stay_those_of_the_fit_when_the_lake_grows(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(40, 1)
    first = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    lake = grow(40, 2)
    grown = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    assert grown.parent == first.id and grown.rows > first.rows
    np.testing.assert_array_equal(grown.reach.radii, first.reach.radii)
    np.testing.assert_array_equal(grown.reach.regions, first.reach.regions)


def test_a_clustering_of_before_radii_were_kept_has_its_own(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(40, 1)
    clustering = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    kept = clustering.reach.radii
    (clustering.root / clustering.id / REACH_NAME).remove()
    np.testing.assert_array_equal(Clustering.open(lake).reach.radii, kept)
