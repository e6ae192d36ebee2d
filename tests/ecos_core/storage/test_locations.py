import errno
from pathlib import Path

import pytest

from ecos_core.errors import InputError
from ecos_core.storage import Location


def test_a_write_is_whole_or_absent(tmp_path, monkeypatch):
    target = Location.of(tmp_path) / "file"
    target.write_bytes(b"old")

    def fail(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="the disk is full"):
        target.write_bytes(b"new")
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_temporary_files_are_not_seen(tmp_path):
    (tmp_path / ".tmp-abc-file").write_bytes(b"half")
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert Location.of(tmp_path).names() == ["a", "b"]
    assert (Location.of(tmp_path) / "nowhere").names() == []


def test_a_file_in_the_way_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, not a folder"):
        (Location.of(tmp_path) / "file" / "x").write_bytes(b"")


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Location.of("lake").path == tmp_path / "lake"
    assert Location.of("file:///a/b").path == Path("/a/b")
    bucket = Location.of("s3://bucket/key/")
    assert (bucket / "x").url == "s3://bucket/key/x" and bucket.name == "key" and not bucket.is_local
    with pytest.raises(InputError, match="local folder is needed"):
        bucket.path  # noqa: B018
    with pytest.raises(InputError, match="unknown storage"):
        Location.of("nosuch://x").exists()


def test_remove_is_quiet_when_there_is_nothing(tmp_path):
    place = Location.of(tmp_path) / "x"
    place.remove()
    place.write_bytes(b"1")
    assert place.size() == 1
    place.remove()
    assert not place.exists()
