import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from tests.ecos_core.lake.zoo import CASES


def make_images(folder: Path, count: int, first: int = 0, side: int = 16) -> None:
    for index in range(first, first + count):
        pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        path = folder / f"domain{index % 2}" / f"class{index % 3}" / f"{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def rows(lake: Lake, columns: list[str]) -> list[dict]:
    return [row for shard in lake.snapshot().shards for row in lake.read_images(shard, columns).to_pylist()]


def files(lake: Lake) -> dict[str, bytes]:
    """Everything in the lake that is no clock and no lock."""
    root = lake.location.path
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if "/log/" not in name and not name.endswith(".lock")}


@pytest.fixture
def lake(tmp_path):
    return Lake.create(tmp_path / "lake")


@pytest.fixture
def source(tmp_path):
    return tmp_path / "photos"


def test_what_goes_in_comes_out(lake, source):
    make_images(source, 6)
    report = ingest(source, lake, licence="CC0-1.0", attribution="A. Author")
    assert (report.added, report.duplicates, report.quarantined) == (6, 0, 0)
    found = {row["origins"][0]: row for row in rows(lake, None)}
    row = found["photos/domain1/class2/00005.png"]
    assert row["bytes"] == (source / "domain1/class2/00005.png").read_bytes()
    assert (row["domain"], row["label"], row["width"], row["media_type"]) == (
        "domain1",
        "class2",
        16,
        "image/png",
    )
    assert (row["source"], row["licence"], row["attribution"]) == ("photos", "CC0-1.0", "A. Author")


@pytest.mark.parametrize(
    ("path", "domain", "label"),
    [
        ("a.png", None, None),
        ("cat/a.png", None, "cat"),
        ("art/cat/a.png", "art", "cat"),
        ("PACS/art/cat/a.png", "art", "cat"),
    ],
)
def test_the_tree_gives_domain_and_class(lake, source, path, domain, label):
    (source / path).parent.mkdir(parents=True)
    (source / path).write_bytes(CASES["fine.png"].data)
    ingest(source, lake)
    assert rows(lake, ["domain", "label"]) == [{"domain": domain, "label": label}]


def test_the_zoo_is_sorted_into_rows_and_reasons(lake, source):
    for name, case in CASES.items():
        path = source / "odd" / "things" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
    (source / "loop").symlink_to(source, target_is_directory=True)
    (source / "broken-link.png").symlink_to(source / "nowhere")
    os.mkfifo(source / "pipe.png")
    with open(os.fsencode(source) + b"/caf\xe9.png", "wb") as file:  # noqa: PTH123
        file.write(CASES["fine.png"].data)
    (source / ".hidden.png").write_bytes(b"passed over")
    report = ingest(source, lake)
    expected = [case.reason for case in CASES.values() if case.reason]
    quarantined = {row["uri"]: row["reason"] for row in lake.read_quarantine(lake.snapshot())}
    assert quarantined.pop("photos/loop") == "link_loop"
    assert quarantined.pop("photos/broken-link.png") == "unreadable"
    assert quarantined.pop("photos/pipe.png") == "unreadable"
    assert quarantined == {f"photos/odd/things/{n}": case.reason for n, case in CASES.items() if case.reason}
    assert report.quarantined == len(expected) + 3 == sum(report.reasons.values())
    origins = [uri for row in rows(lake, ["origins"]) for uri in row["origins"]]
    assert "photos/odd/things/ünï-图像 名.png" in origins
    assert any("photos/caf\\xe9.png" in row["origins"] for row in rows(lake, ["origins"]))
    assert report.items == len(CASES) + 4
    turned = next(row for row in rows(lake, None) if row["origins"] == ["photos/odd/things/turned.jpg"])
    assert (turned["width"], turned["height"]) == CASES["turned.jpg"].size


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_quarantined(lake, source):
    make_images(source, 2)
    next(source.rglob("*.png")).chmod(0)
    assert ingest(source, lake).reasons == {"unreadable": 1}


def test_the_same_image_twice_is_one_sample_with_two_origins(lake, source):
    for name in ("a/x.png", "b/y.png"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_bytes(CASES["fine.png"].data)
    report = ingest(source, lake)
    assert (report.added, report.duplicates) == (1, 1)
    assert rows(lake, ["origins"]) == [{"origins": ["photos/a/x.png", "photos/b/y.png"]}]
    ingest(source, lake, source="elsewhere", licence="CC0")
    assert lake.snapshot().rows == 1
    known = list(lake.known_origins(lake.snapshot(), []))
    assert {uri for _, uri in known} == {
        "photos/a/x.png",
        "photos/b/y.png",
        "elsewhere/a/x.png",
        "elsewhere/b/y.png",
    }


def test_growth_adds_only_what_is_new_and_old_snapshots_stay(lake, source):
    make_images(source, 10)
    (source / "bad.png").write_bytes(b"")
    first = ingest(source, lake).snapshot
    shards = lake.snapshot().shards
    again = ingest(source, lake)
    assert (again.added, again.duplicates, again.quarantined, again.snapshot) == (0, 10, 1, first)
    make_images(source, 5, first=10)
    grown = ingest(source, lake)
    assert (grown.added, grown.duplicates) == (5, 10)
    assert lake.snapshot().shards[: len(shards)] == shards
    assert lake.snapshot(first).rows == 10 and lake.snapshot().rows == 15
    assert [snapshot.id for snapshot in lake.history()] == [grown.snapshot, first]
    assert len(lake.read_quarantine(lake.snapshot())) == 1


def test_the_same_images_give_the_same_bytes_on_any_machine(tmp_path):
    made = []
    for place in ("here", "there"):
        make_images(tmp_path / place / "photos", 30)
        lake = Lake.create(tmp_path / place / "lake")
        ingest(tmp_path / place / "photos", lake, target_bytes=5_000)
        assert len(lake.snapshot().shards) > 3
        made.append(files(lake))
    assert made[0] == made[1]


def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(tmp_path, source):
    make_images(source, 40)
    (source / "bad.png").write_bytes(b"")
    whole, broken = Lake.create(tmp_path / "whole"), Lake.create(tmp_path / "broken")
    ingest(source, whole, target_bytes=5_000)

    def pull_the_plug(report):
        if report.done:
            raise KeyboardInterrupt

    original = Lake.publish
    try:
        Lake.publish = lambda self, *_: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(source, broken, target_bytes=5_000)
    finally:
        Lake.publish = original
    assert broken.head() is None
    report = ingest(source, broken, target_bytes=5_000)
    assert report.resumed_items == 41 and (report.added, report.quarantined) == (40, 1)
    assert files(broken) == files(whole)
    with pytest.raises(KeyboardInterrupt):
        ingest(source, broken, source="again", progress=pull_the_plug)
    assert broken.snapshot().id == whole.snapshot().id


def test_a_source_that_changed_since_the_kill_is_read_again(tmp_path, source, monkeypatch):
    make_images(source, 40)
    lake = Lake.create(tmp_path / "lake")
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(source, lake, target_bytes=5_000)
    (source / "domain0" / "class0" / "00000.png").unlink()
    report = ingest(source, lake, target_bytes=5_000)
    assert (report.resumed_items, report.added) == (0, 39)


CHILD = """
import sys
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
print("ready", flush=True)
ingest(sys.argv[1], Lake.open_or_create(sys.argv[2]), target_bytes=20_000)
"""


@pytest.mark.integration
def test_twenty_random_kills_change_nothing(tmp_path, source):
    make_images(source, 1200)
    (source / "zz-bad.png").write_bytes(b"")
    whole = Lake.create(tmp_path / "whole")
    began = time.monotonic()
    ingest(source, whole, target_bytes=20_000)
    took = time.monotonic() - began
    rng = np.random.default_rng(7)
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source), str(tmp_path / "killed")],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        ) as child:
            assert child.stdout.readline() == b"ready\n"
            time.sleep(float(rng.uniform(0, 0.3 * took)))
            child.send_signal(signal.SIGKILL)
    killed = Lake.open_or_create(tmp_path / "killed")
    ingest(source, killed, target_bytes=20_000)
    left = {name: data for name, data in files(killed).items() if "/.tmp-" not in name}
    assert left == files(whole)


def test_two_writers_are_kept_apart(lake, source):
    make_images(source, 1)
    with lake.writing(), pytest.raises(InputError, match="another ingest"):
        ingest(source, lake)


@pytest.mark.parametrize("place", ["nowhere", "empty", "file.png"])
def test_nothing_to_read(lake, tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").touch()
    with pytest.raises(InputError):
        ingest(tmp_path / place, lake)
    assert lake.head() is None


def test_a_lake_inside_its_source_is_not_swallowed(source):
    make_images(source, 3)
    lake = Lake.create(source / "lake")
    assert ingest(source, lake).added == 3
    assert ingest(source, lake).items == 3


def test_opening_what_is_no_lake(tmp_path, lake):
    with pytest.raises(InputError, match="no lake here"):
        Lake.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="lake here already"):
        Lake.create(lake.location)
    with pytest.raises(InputError, match="the lake is empty"):
        lake.snapshot()
    with pytest.raises(InputError, match="no snapshot 'abcd'"):
        lake.snapshot("abcd")
    (lake.location / "lake.json").write_bytes(b'{"schema_version": 99}')
    with pytest.raises(InputError, match="upgrade ecos"):
        Lake.open(lake.location)


def test_an_altered_snapshot_is_found(lake, source):
    make_images(source, 2)
    id = ingest(source, lake).snapshot
    place = lake.images / "snapshots" / f"{id}.json"
    manifest = json.loads(place.read_bytes())
    manifest["shards"][0]["rows"] = 3
    place.write_bytes(json.dumps(manifest).encode())
    with pytest.raises(IntegrityError):
        lake.snapshot()
