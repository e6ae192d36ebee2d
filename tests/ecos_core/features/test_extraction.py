from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecos_core.errors import InputError, IntegrityError
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor
from ecos_core.features.feature_set import FeatureSet
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress
from ecos_core.storage import Manifest, verify_shards, write_shard

Grow = Callable[[int, int], Lake]


def feature_files(lake: Lake) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in lake.folder("features").path.rglob("shards/*.parquet")
    }


def test_features_are_those_of_the_images(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(60, 1)
    features = extract_lake(lake, colour_extractor)
    assert len(features.shards) == len(lake.snapshot().shards) > 1
    ids, stored = features.load()
    images = [row for shard in lake.snapshot().shards for row in lake.read_images(shard).to_pylist()]
    assert ids.tolist() == [row["sample_id"] for row in images]
    np.testing.assert_allclose(stored, colour_extractor.extract([row["bytes"] for row in images]), atol=1e-3)
    verify_shards(features.folder / "shards", features.manifest)
    column = pq.read_schema(next(features.folder.path.rglob("shards/*.parquet"))).field("feature").type
    assert str(column).startswith("fixed_size_list<") and "halffloat" in str(column)


def test_only_what_is_missing_is_done_when_the_lake_grows(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(40, 1)
    first = extract_lake(lake, colour_extractor)
    before = feature_files(lake)
    lake = grow(30, 2)
    second = extract_lake(lake, colour_extractor)
    after = feature_files(lake)
    assert before.items() <= after.items()
    assert second.rows == 70 and first.rows == 40
    assert FeatureSet.open(lake, colour_extractor.fingerprint).digest == second.digest
    assert FeatureSet.open(lake, colour_extractor.fingerprint, first.snapshot_id).digest == first.digest
    extract_lake(lake, colour_extractor)
    assert feature_files(lake) == after


def test_a_shard_without_its_completion_record_is_done_again(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(40, 1)
    whole = extract_lake(lake, colour_extractor)
    shards = sorted((whole.folder / "shards").path.glob("*.parquet"))
    shards[0].with_suffix(".json").unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:100])
    again = extract_lake(lake, colour_extractor)
    assert again.digest == whole.digest
    verify_shards(again.folder / "shards", again.manifest)


def test_the_bytes_do_not_depend_on_the_workers(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(50, 1)
    digests = set()
    for workers in (1, 2, 5):
        features = extract_lake(lake, colour_extractor, workers=workers)
        digests.add(features.digest)
        for path in (features.folder / "shards").path.iterdir():
            path.unlink()
    assert len(digests) == 1


def test_what_cannot_be_decoded_is_counted_and_recorded(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(20, 1)
    lake = _with_a_broken_image(lake)
    reports: list[Progress] = []
    features = extract_lake(lake, colour_extractor, progress=reports.append)
    assert features.rows == 19
    assert features.manifest.summary == {"failures": 1, "reasons": {"not_an_image": 1}}
    assert reports[-1].done == reports[-1].total == 20
    assert reports[-1].failures == 1


def _with_a_broken_image(lake: Lake) -> Lake:
    """Replace one image's bytes, as bad hardware or a later version of a decoder would."""
    snapshot = lake.snapshot()
    table = lake.read_images(snapshot.shards[0])
    rows = table.to_pylist()
    rows[3]["bytes"] = b"no picture any more"
    broken = write_shard(lake.images / "shards", None, type(table).from_pylist(rows, table.schema))
    manifest = Manifest(
        kind="lake/images", shards=[broken, *snapshot.shards[1:]], summary={"parent": snapshot.id}
    )
    lake.publish(manifest, {})
    return lake


def test_float32_stands_beside_float16(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(20, 1)
    half, full = extract_lake(lake, colour_extractor), extract_lake(lake, colour_extractor, dtype="float32")
    assert half.folder == full.folder and half.digest != full.digest
    verify_shards(half.folder / "shards", half.manifest)
    np.testing.assert_allclose(half.load()[1], full.load()[1], atol=1e-3)
    with pytest.raises(InputError, match="float16 or float32"):
        extract_lake(lake, colour_extractor, dtype="float64")  # type: ignore[arg-type]


def test_numbers_too_large_for_float16_are_refused(grow: Grow, colour_extractor: Extractor) -> None:
    class Large:
        name, device, parallel, dimension = "large", "cpu", True, 4

        def run(self, pixels: np.ndarray) -> np.ndarray:
            return np.full((len(pixels), 4), 1e6, np.float32)

    large = Extractor("large", "0" * 64, colour_extractor.preprocessing, False, None, Large())
    lake = grow(8, 1)
    with pytest.raises(InputError, match="float32"):
        extract_lake(lake, large)
    assert extract_lake(lake, large, dtype="float32").rows == 8


def test_the_projection_is_fitted_once_and_kept(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(40, 1)
    first = extract_lake(lake, colour_extractor, projection=3)
    assert first.dimension == 3 and first.fingerprint != colour_extractor.fingerprint
    lake = grow(20, 2)
    second = extract_lake(lake, colour_extractor, projection=3)
    assert second.fingerprint == first.fingerprint
    assert extract_lake(lake, colour_extractor, projection=2).fingerprint != first.fingerprint
    with pytest.raises(InputError, match="--projection 13"):
        extract_lake(lake, colour_extractor, projection=13)


def test_a_sample_is_drawn_without_replacement_and_repeats(grow: Grow, colour_extractor: Extractor) -> None:
    features = extract_lake(grow(50, 1), colour_extractor, dtype="float32")
    sample = features.sample(20, seed=3)
    np.testing.assert_array_equal(sample, features.sample(20, seed=3))
    assert len(np.unique(sample, axis=0)) == 20
    everything = {row.tobytes() for row in features.load()[1]}
    assert {row.tobytes() for row in sample} <= everything
    np.testing.assert_array_equal(features.sample(1000, seed=0), features.load()[1])


def test_missing_features_and_shards_are_named(grow: Grow, colour_extractor: Extractor) -> None:
    lake = grow(20, 1)
    with pytest.raises(InputError, match="no finished features"):
        FeatureSet.open(lake, colour_extractor.fingerprint)
    features = extract_lake(lake, colour_extractor)
    next((features.folder / "shards").path.glob("*.parquet")).unlink()
    with pytest.raises(IntegrityError, match="no file"):
        features.load()


def test_nothing_half_written_is_left_behind(grow: Grow, colour_extractor: Extractor, tmp_path: Path) -> None:
    extract_lake(grow(20, 1), colour_extractor)
    assert not list(tmp_path.rglob(".tmp-*"))
