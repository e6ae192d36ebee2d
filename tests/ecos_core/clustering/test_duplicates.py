import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from ecos_core.clustering.clustering import cluster_lake
from ecos_core.clustering.duplicates import close_pairs, components, find_duplicates, stored_duplicates
from ecos_core.clustering.pool import LakePool
from ecos_core.clustering.restricted import restricted_pool
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import load_extractor
from ecos_core.lake.digits import photographs
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.sampling import SAMPLERS, SamplerConfig


@given(st.integers(0, 60), st.integers(1, 6), st.floats(0, 3), st.integers(0, 99))
def test_pairs_are_those_of_all_comparisons(rows, dim, radius, seed):
    points = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    apart = np.linalg.norm(points[:, None].astype(np.float64) - points, axis=2)
    clear = np.abs(apart - radius) > 1e-5
    found = np.zeros((rows, rows), dtype=bool)
    pairs = close_pairs(points, radius)
    found[pairs[:, 0], pairs[:, 1]] = True
    assert (found == (np.triu(apart <= radius, 1)))[clear].all()


def test_blocks_do_not_lose_pairs_at_their_edges():
    points = np.zeros((5000, 3), np.float32)
    points[:, 0] = np.arange(5000)
    assert close_pairs(points, 1.0).tolist() == [[row, row + 1] for row in range(4999)]
    assert len(close_pairs(np.zeros((3, 2)), 0.0)) == 3


def test_components_are_named_by_their_smallest_member():
    pairs = [("c", "b"), ("b", "d"), ("x", "x"), ("f", "e")]
    assert components(pairs) == {"b": "b", "c": "b", "d": "b", "e": "e", "f": "e"}
    assert components([]) == {}


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Twelve pictures; of the first also a smaller copy, of the second one with other colours."""
    folder = tmp_path_factory.mktemp("duplicates")
    sources = [photo for photo in photographs() if min(photo.shape[:2]) > 300]
    rng = np.random.default_rng(5)
    for index in range(12):
        photo = sources[index % len(sources)]
        top, left = rng.integers(photo.shape[0] - 256), rng.integers(photo.shape[1] - 256)
        image = Image.fromarray(photo[top : top + 256, left : left + 256])
        _save(image, folder / "images" / f"{index}.png")
        if index == 0:
            _save(image.resize((128, 128)), folder / "images" / "smaller.png")
        if index == 1:
            _save(ImageEnhance.Color(image).enhance(0.9), folder / "images" / "paler.png")
    lake = Lake.create(folder / "lake")
    ingest(folder / "images", lake)
    return lake


def _save(image, path):
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def test_copies_are_found_kept_and_never_chosen_together(lake):
    clustering = cluster_lake(lake, extract_lake(lake, load_extractor(image_size=64)), clusters=2)
    assert stored_duplicates(clustering) is None
    found = find_duplicates(lake, clustering)
    assert found.groups == 2 and found.superfluous == 2
    again = stored_duplicates(clustering)
    assert again.digest == found.digest
    assert again.grouped.sample_ids.tolist() == found.grouped.sample_ids.tolist()
    for sample_id, cluster in zip(again.grouped.sample_ids, again.grouped.clusters, strict=True):
        assert sample_id in LakePool(lake, clustering).members(int(cluster)).sample_ids
    pool, record = restricted_pool(LakePool(lake, clustering))
    assert record["near_duplicates"] == found.digest
    chosen = SAMPLERS["random"](pool, 12, scores=None, config=SamplerConfig(), seed=0)
    assert len(chosen) == 12 and len(chosen.omitted.sample_id) == 2
