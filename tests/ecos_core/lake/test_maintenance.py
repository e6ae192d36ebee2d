import time

import pytest

from ecos_core.errors import IntegrityError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.maintenance import find_garbage, history, remove_garbage, verify
from ecos_core.lake.near_duplicates import near_duplicates
from tests.ecos_core.lake.test_ingest import files, make_images


@pytest.fixture
def lake(tmp_path):
    lake = Lake.create(tmp_path / "lake")
    make_images(tmp_path / "photos", 30)
    (tmp_path / "photos" / "bad.png").touch()
    ingest(tmp_path / "photos", lake, target_bytes=5_000)
    make_images(tmp_path / "photos", 10, first=30)
    ingest(tmp_path / "photos", lake, source="again", target_bytes=5_000)
    near_duplicates(lake)
    return lake


def put(lake, name):
    (lake.location / name).write_bytes(b"x")


def test_a_lake_in_order_has_no_garbage(lake):
    shard, id = lake.snapshot().shards[0].sha256, lake.snapshot().parent
    for name in (
        f"features/abc/shards/{shard}.parquet",
        f"features/abc/shards/{shard}-float32.json",
        f"features/abc/snapshots/{id}.json",
        "features/abc/extractor.json",
        "clusters/c1/manifest.json",
        "clusters/HEAD",
    ):
        put(lake, name)
    assert find_garbage(lake, now=time.time() + 1e6) == []


def test_what_nothing_refers_to_goes_and_nothing_else(lake):
    before = files(lake)
    other = "1" * 64
    strays = {
        f"images/shards/{other}.parquet",
        f"images/quarantine/{other}.parquet",
        f"images/origins/{other}.parquet",
        f"images/snapshots/{other}.json",
        f"images/runs/{other}-abc/part-000000.json",
        f"features/abc/shards/{other}.parquet",
        f"features/abc/snapshots/{other}.json",
        f"near_duplicates/{other[:32]}-4/groups.parquet",
    }
    for name in strays:
        put(lake, name)
    root = f"{lake.location}/"
    assert {item.location.url.removeprefix(root) for item in find_garbage(lake)} == strays
    assert len(remove_garbage(lake)) == len(strays)
    assert files(lake) == before


def test_temporary_files_go_after_an_hour(lake):
    (lake.images / "shards").path.joinpath(".tmp-abc-x").write_bytes(b"half")
    assert find_garbage(lake) == []
    assert [item.reason for item in find_garbage(lake, now=time.time() + 4000)] == [
        "left by an interrupted write"
    ]


def test_an_interrupted_ingest_can_still_go_on_after_a_clean_up(lake, tmp_path, monkeypatch):
    make_images(tmp_path / "more", 20, first=50)
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(tmp_path / "more", lake, target_bytes=5_000)
    assert remove_garbage(lake) == []
    assert ingest(tmp_path / "more", lake, target_bytes=5_000).resumed_items == 20


def test_history_is_the_chain_and_verify_reads_it_all(lake):
    entries = history(lake)
    assert [(entry.added, entry.images, entry.refused) for entry in entries] == [(10, 40, 1), (30, 30, 1)]
    snapshot = lake.snapshot()
    assert verify(lake, snapshot) == len(snapshot.shards) + len(snapshot.origins) + len(snapshot.quarantine)
    damaged = (lake.images / "shards" / snapshot.shards[1].name).path
    data = bytearray(damaged.read_bytes())
    data[100] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(IntegrityError):
        verify(lake, snapshot)
