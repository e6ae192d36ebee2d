import errno
import json
import os
import sys
from pathlib import Path

import pytest

from ecos_cli.main import main
from tests.ecos_core.lake.test_ingest import make_images
from tests.ecos_core.lake.zoo import CASES


@pytest.fixture
def ecos(monkeypatch, capsys):
    """Run a command; gives (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ecos", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def photos(tmp_path):
    make_images(tmp_path / "photos", 6)
    (tmp_path / "photos" / "page.jpg").write_bytes(CASES["page.jpg"].data)
    return tmp_path / "photos"


def test_ingest_prints_one_object(ecos, photos, tmp_path):
    code, out, err = ecos("ingest", photos, "--lake", tmp_path / "lake", "--licence", "CC0-1.0", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert (result["added"], result["duplicates"], result["quarantined"]) == (6, 0, 1)
    assert result["reasons"] == {"not_an_image": 1} and len(result["snapshot"]) == 64
    code, out, _ = ecos("ingest", photos, "--lake", tmp_path / "lake")
    assert code == 0 and out.startswith("0 added, 6 duplicates, 1 quarantined (1 not_an_image)")


@pytest.mark.parametrize("path", ["nowhere", "empty", "list.txt"])
def test_wrong_sources_are_one_line_and_exit_2_and_leave_nothing(ecos, tmp_path, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").touch()
    code, out, err = ecos("ingest", tmp_path / path, "--lake", tmp_path / "lake")
    assert (code, out) == (2, "") and err.startswith("ecos: ") and err.count("\n") == 1
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_an_ingest_of_refusals_alone_says_so_and_exits_2(ecos, photos, tmp_path, as_json):
    (tmp_path / "list.csv").write_text("path\nnowhere.png\nphotos/page.jpg\n")
    code, out, err = ecos("ingest", tmp_path / "list.csv", "--lake", tmp_path / "lake", *as_json)
    assert code == 2 and "nothing came in, all 2 were refused; ecos lake quarantine" in err
    assert "1 not_an_image" in out or json.loads(out)["reasons"] == {"not_an_image": 1, "unreadable": 1}
    refused = json.loads(ecos("lake", "quarantine", "--lake", tmp_path / "lake", "--json")[1])
    assert {row["uri"] for row in refused["rows"]} == {"list.csv/list.csv#0", "list.csv/list.csv#1"}
    code, _, err = ecos("ingest", tmp_path / "list.csv", "--lake", tmp_path / "lake", *as_json)
    assert code == 2 and "nothing came in" in err
    (tmp_path / "list.csv").write_text(f"path\n{next(photos.rglob('*.png'))}\nnowhere.png\n")
    assert ecos("ingest", tmp_path / "list.csv", "--lake", tmp_path / "lake", *as_json)[0] == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_one_line(ecos, photos, tmp_path, monkeypatch, number):
    ecos("ingest", photos, "--lake", tmp_path / "lake", "--json")
    make_images(photos, 3, first=6)
    original = Path.open

    def refuse(self, mode="r", *rest, **options):
        if "w" in mode:
            raise OSError(number, os.strerror(number))
        return original(self, mode, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        code, out, err = ecos("ingest", photos, "--lake", tmp_path / "lake", "--json")
    assert (code, out) == (2, "") and err.startswith("ecos: ") and err.count("\n") == 1
    code, out, _ = ecos("ingest", photos, "--lake", tmp_path / "lake", "--json")
    assert code == 0 and json.loads(out)["added"] == 3


def test_a_lake_where_a_file_is(ecos, photos, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = ecos("ingest", photos, "--lake", tmp_path / "file" / "lake")
    assert code == 2 and err.count("\n") == 1


def test_the_family_of_lake(ecos, photos, tmp_path):
    lake = tmp_path / "lake"
    ecos("ingest", photos, "--lake", lake, "--licence", "CC0-1.0", "--json")
    shown = json.loads(ecos("lake", "show", "--lake", lake, "--json")[1])
    assert (
        shown["images"] == 6
        and shown["licences"] == {"CC0-1.0": 6}
        and shown["domains"] == {"domain0": 3, "domain1": 3}
    )
    make_images(photos, 2, first=6)
    ecos("ingest", photos, "--lake", lake, "--json")
    log = json.loads(ecos("lake", "log", "--lake", lake, "--json")[1])["snapshots"]
    assert [(entry["added"], entry["refused"]) for entry in log] == [(2, 0), (6, 1)]
    assert log[0]["parent"] == log[1]["snapshot"] and log[0]["added_at"]
    refused = json.loads(ecos("lake", "quarantine", "--lake", lake, "--json")[1])
    assert refused["rows"][0]["uri"] == "photos/page.jpg"
    usable = json.loads(ecos("lake", "licences", "--lake", lake, "--allow", "cc0 1.0", "--json")[1])
    assert (usable["usable"], usable["images"]) == (6, 8)
    code, _, err = ecos("lake", "licences", "--lake", lake, "--allow", "MIT")
    assert code == 2 and "no image has an allowed licence" in err
    assert json.loads(ecos("lake", "licences", "--lake", lake, "--allow-any", "--json")[1])["usable"] == 8
    assert json.loads(ecos("lake", "near-duplicates", "--lake", lake, "--json")[1])["groups"] == 0
    leaks = json.loads(ecos("lake", "leaks", "--lake", lake, "--test", photos, "--json")[1])
    assert leaks["test_images"] == 8 and all(leak["exact"] for leak in leaks["leaks"])
    assert json.loads(ecos("lake", "verify", "--lake", lake, "--json")[1])["shards"] == 3
    for command in ("show", "log", "quarantine", "licences", "near-duplicates", "verify"):
        code, out, _ = ecos("lake", command, "--lake", lake)
        assert code == 0 and out


def test_leaks_say_what_was_left_out_of_the_comparison(ecos, photos, tmp_path):
    ecos("ingest", photos, "--lake", tmp_path / "lake", "--json")
    (photos / ".trash").mkdir()
    (photos / "gone.png").symlink_to("nowhere.png")
    code, out, _ = ecos("lake", "leaks", "--lake", tmp_path / "lake", "--test", photos)
    assert code == 0 and out.splitlines()[-2:] == [
        "6 test images are or nearly are in the lake",
        "left out: 1 a link to nothing, 1 hidden, 1 not_an_image",
    ]
    told = json.loads(ecos("lake", "leaks", "--lake", tmp_path / "lake", "--test", photos, "--json")[1])
    assert told["left_out"] == {"broken": 1, "hidden": 1, "not_an_image": 1}


def test_gc_asks_before_it_removes(ecos, photos, tmp_path, monkeypatch):
    lake = tmp_path / "lake"
    ecos("ingest", photos, "--lake", lake, "--json")
    stray = lake / "images" / "shards" / f"{'0' * 64}.parquet"
    stray.write_bytes(b"left over")
    code, _, err = ecos("lake", "gc", "--lake", lake, "--json")
    assert code == 2 and "add --yes" in err and stray.exists()
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert "nothing was removed" in ecos("lake", "gc", "--lake", lake)[1] and stray.exists()
    assert json.loads(ecos("lake", "gc", "--lake", lake, "--yes", "--json")[1]) == {"removed": 1, "bytes": 9}
    assert not stray.exists()
    assert json.loads(ecos("lake", "verify", "--lake", lake, "--json")[1])["intact"]


def test_no_lake_is_one_line(ecos, tmp_path):
    code, _, err = ecos("lake", "show", "--lake", tmp_path / "nowhere")
    assert code == 2 and "no lake here" in err and err.count("\n") == 1
