"""Images by their ids: those asked for, whole and allowed, whatever holds them."""

import pytest

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.lookup import image_files, image_rows
from ecos_core.storage import sha256_hex
from tests.ecos_core.lake.test_ingest import make_images, rows


@pytest.fixture(params=[False, True], ids=["held", "referred"])
def lake(request, tmp_path):
    make_images(tmp_path / "photos", 12)
    lake = Lake.create(tmp_path / "lake")
    ingest(tmp_path / "photos", lake, licence="MIT", by_reference=request.param, target_bytes=2_000)
    return lake


def test_the_images_asked_for_come_whole_and_in_the_lakes_order(lake):
    assert len(lake.snapshot().shards) > 1
    ids = [row["sample_id"] for row in rows(lake, ["sample_id"])]
    wanted = [ids[9], ids[1], ids[4]]
    found = list(image_rows(lake, lake.snapshot(), wanted, ["width", "bytes"]))
    assert [row["sample_id"] for row in found] == [ids[1], ids[4], ids[9]]
    assert all(set(row) == {"sample_id", "width", "bytes"} and row["width"] == 16 for row in found)
    files = image_files(lake, lake.snapshot(), wanted)
    assert {sha256_hex(content) for content in files.values()} == set(wanted)


def test_an_unknown_sample_and_a_forbidden_licence_are_refused(lake):
    first = rows(lake, ["sample_id"])[0]["sample_id"]
    with pytest.raises(InputError, match="1 of 2 selected samples are not in this lake"):
        image_files(lake, lake.snapshot(), [first, "0" * 64])
    lake.set_licence_rule(["CC0-1.0", "MIT"])
    assert image_files(lake, lake.snapshot(), [first])
    make_images(lake.location.path.parent / "free", 2, first=50)
    ingest(lake.location.path.parent / "free", lake, licence="CC0-1.0")
    lake.set_licence_rule(["CC0-1.0"])
    with pytest.raises(InputError, match="licence that is not allowed"):
        next(image_rows(lake, lake.snapshot(), [first], ["width"]))


def test_a_changed_file_is_found_out(lake):
    first = rows(lake, ["sample_id"])[0]["sample_id"]
    for photo in (lake.location.path.parent / "photos").rglob("*.png"):
        photo.write_bytes(b"another")
    shard = lake.images.path / "shards" / lake.snapshot().shards[0].name
    if next(image_rows(lake, lake.snapshot(), [first], ["uri"]))["uri"] is not None:
        with pytest.raises(IntegrityError):
            image_files(lake, lake.snapshot(), [first])
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        image_files(lake, lake.snapshot(), [first])
    shard.unlink()
    with pytest.raises(IntegrityError, match="no file"):
        image_files(lake, lake.snapshot(), [first])
