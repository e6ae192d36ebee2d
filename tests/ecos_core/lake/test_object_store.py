import pytest

from ecos_core.errors import InputError, RemoteError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location
from tests.ecos_core.lake.test_ingest import make_images

pytestmark = pytest.mark.integration


def test_a_location_in_a_bucket(bucket):
    place = Location.of(bucket) / "folder" / "file"
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        place.read_bytes()
    place.write_bytes(b"whole")
    assert place.exists() and place.size() == 5 and place.read_bytes() == b"whole"
    with place.open_input() as file:
        file.seek(2)
        assert file.read() == b"ole"
    assert (Location.of(bucket) / "folder").names() == ["file"]
    assert (Location.of(bucket) / "nothing").names() == []
    place.remove()
    place.remove()
    assert not place.exists()


def test_a_lake_in_a_bucket_is_the_lake_on_disk(bucket, tmp_path):
    make_images(tmp_path / "photos", 30)
    local, remote = Lake.create(tmp_path / "lake"), Lake.open_or_create(f"{bucket}/lake")
    for lake in (local, remote):
        ingest(tmp_path / "photos", lake, target_bytes=5_000)
    assert remote.snapshot().manifest == local.snapshot().manifest
    shard = remote.snapshot().shards[1]
    assert remote.read_images(shard, ["sample_id", "bytes"]) == local.read_images(
        shard, ["sample_id", "bytes"]
    )
    again = ingest(tmp_path / "photos", Lake.open(f"{bucket}/lake"))
    assert (again.added, again.duplicates) == (0, 30)
    assert (remote.images / "runs").names() == []


def test_a_store_that_is_down_is_a_remote_error_and_a_missing_bucket_is_said(bucket, monkeypatch):
    import s3fs

    with pytest.raises(InputError, match=r"no-such-bucket.*no such bucket"):
        (Location.of("s3://no-such-bucket") / "x").write_bytes(b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RemoteError) as caught:
        Location.of(f"{bucket}/x").read_bytes()
    assert caught.value.retryable
