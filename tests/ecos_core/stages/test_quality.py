import io

import numpy as np
import pytest
from PIL import Image

from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.clustering import cluster_lake
from ecos_core.features.extraction import extract_lake
from ecos_core.features.feature_set import matrix
from ecos_core.lake.lake import Lake
from ecos_core.reporting.report import render_report
from ecos_core.stages.quality import cluster_quality, cluster_sheet, clustering_report
from ecos_core.storage import read_shard


@pytest.fixture
def clustered(grow, colour_extractor):
    lake = grow(24, 1)
    features = extract_lake(lake, colour_extractor)
    return lake, features, cluster_lake(lake, features, clusters=4)


def test_sizes_inertia_and_nearest_members_are_those_of_the_features(clustered):
    _, features, clustering = clustered
    tables = [read_shard(features.folder / "shards", shard) for shard in features.shards]
    points = np.concatenate([matrix(table["feature"], features.dimension) for table in tables])
    ids = np.concatenate([table["sample_id"].to_pylist() for table in tables])
    own, distances = nearest(points, clustering.centroids)
    rows = cluster_quality(clustering)
    assert sorted(row.cluster for row in rows) == [0, 1, 2, 3]
    assert [row.images for row in rows] == sorted(np.bincount(own), reverse=True)
    for row in rows:
        here = np.flatnonzero(own == row.cluster)
        assert row.inertia == pytest.approx((distances[here].astype(float) ** 2).sum(), rel=1e-5)
        assert row.mean_square_distance == pytest.approx(row.inertia / len(here))
        assert row.largest_distance == pytest.approx(distances[here].max())
        assert row.nearest == tuple(ids[here[np.argsort(distances[here], kind="stable")]][:8])


def test_the_sheet_has_a_row_a_cluster_and_the_page_a_montage_each(clustered):
    lake, _, clustering = clustered
    sheet = Image.open(io.BytesIO(cluster_sheet(lake, clustering, most=3)))
    assert sheet.size == (8 * 76 + 4, 3 * 76 + 4)
    page = render_report(clustering_report(str(lake.location), most=3))
    assert page.count('<div class="montage">') == 3 and page.count('<img src="data:') == 18
    assert "24 samples in 4 clusters; the 3 largest are shown" in page
    assert "mean squared distance" in page and "Nothing was trained" not in page


def test_an_image_whose_licence_forbids_it_is_not_shown(tmp_path, colour_extractor):
    from ecos_core.lake.ingest import ingest
    from tests.lake_support import write_pictures

    lake = Lake.create(tmp_path / "lake")
    for number, licence in enumerate(("CC0-1.0", "CC-BY-NC-4.0")):
        write_pictures(tmp_path / licence, 8, number)
        ingest(tmp_path / licence, lake, licence=licence)
    cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    lake.set_licence_rule(["CC0-1.0"])
    page = render_report(clustering_report(str(lake.location)))
    assert page.count('<img src="data:') == 8
