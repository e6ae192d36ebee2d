"""Data sets on a hub: the command as people run it, against a server that speaks the parts of the hub's API it uses."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from ecos_core.errors import InputError
from ecos_core.lake.sources.hub import pinned
from ecos_core.storage import Location
from tests.ecos_core.lake.test_sources import picture

FIRST, SECOND = "1" * 40, "2" * 40
REFS = {"main": SECOND, "v1": FIRST, "refs/convert/parquet": FIRST, FIRST: FIRST, SECOND: SECOND}
OLD = {"README.md": b"# Pets", "train/cat/1.png": picture(1), "train/dog/2 b.png": picture(2)}
FILES = {FIRST: OLD, SECOND: {**OLD, "train/dog/3.png": picture(3)}}
REPO = "owner/pets"


class _Hub(BaseHTTPRequestHandler):
    """`/api/datasets/…[/revision/R]`, `…/tree/R[/path]`, `/datasets/…/resolve/R/path`."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(f"/api/datasets/{REPO}"):
            what, _, rest = path.removeprefix(f"/api/datasets/{REPO}").strip("/").partition("/")
            revision, _, inside = (rest or "main").partition("/")
            commit = REFS.get(unquote(revision))
            if commit is None:
                self._json({"error": "no such revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
            elif what == "tree":
                self._json(self._tree(commit, unquote(inside), "recursive=true" in self.path.lower()))
            else:
                self._json({"id": REPO, "sha": commit, "siblings": []})
        elif path.startswith(f"/datasets/{REPO}/resolve/"):
            revision, _, name = path.removeprefix(f"/datasets/{REPO}/resolve/").partition("/")
            self._file(FILES[REFS[unquote(revision)]].get(unquote(name)))
        else:
            self._json({"error": "no such data set"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def _tree(self, commit: str, folder: str, recursive: bool) -> list[dict[str, object]]:
        start = f"{folder}/" if folder else ""
        found: dict[str, dict[str, object]] = {}
        for name, data in FILES[commit].items():
            if not name.startswith(start):
                continue
            parts = name.removeprefix(start).split("/")
            for depth in range(1, len(parts) if recursive or len(parts) < 2 else 2):
                there = start + "/".join(parts[:depth])
                found[there] = {"type": "directory", "path": there, "oid": "0" * 40, "size": 0}
            if recursive or len(parts) == 1:
                found[name] = {
                    "type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()
                }  # fmt: skip
        return list(found.values())

    def _file(self, data: bytes | None) -> None:
        if data is None:
            self._json({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        wanted = self.headers.get("Range")
        if wanted:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            data = data[int(start) : int(end) + 1 if end else None]
        self._send(206 if wanted else 200, data, {})

    def _json(self, answer: object, number: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(
            number, json.dumps(answer).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def _send(self, number: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(number)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ingest(endpoint: str, address: str, lake) -> tuple[int, str, str]:
    """`ecos ingest` in a process of its own: huggingface_hub reads its endpoint once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-m", "ecos_cli.main", "ingest", address, "--lake", str(lake), "--json"],
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(lake.parent / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_revision_is_pinned_and_gives_the_same_snapshot_by_whatever_name(hub, tmp_path):
    found = {}
    for number, revision in enumerate(("", "@main", f"@{SECOND}", "@v1", "@refs%2Fconvert%2Fparquet")):
        lake = tmp_path / str(number) / "lake"
        lake.parent.mkdir()
        code, out, err = ingest(hub, f"hf://datasets/{REPO}{revision}", lake)
        assert code == 0, err
        found[revision] = json.loads(out)
    assert found[""]["added"] == 3 and found["@v1"]["added"] == 2
    assert found[""]["snapshot"] == found["@main"]["snapshot"] == found[f"@{SECOND}"]["snapshot"]
    assert found["@v1"]["snapshot"] == found["@refs%2Fconvert%2Fparquet"]["snapshot"] != found[""]["snapshot"]

    from ecos_core.lake.lake import Lake
    from ecos_core.lake.maintenance import history
    from tests.ecos_core.lake.test_ingest import rows

    lake = Lake.open(tmp_path / "0" / "lake")
    assert history(lake)[0].address == f"hf://datasets/{REPO}@{SECOND}"
    assert {row["label"] for row in rows(lake, None)} == {"cat", "dog"}


def test_a_folder_of_it(hub, tmp_path):
    code, out, err = ingest(hub, f"hf://datasets/{REPO}@v1/train/dog", tmp_path / "lake")
    assert code == 0 and json.loads(out)["added"] == 1, err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"hf://datasets/{REPO}@v9", "no revision 'v9' of 'owner/pets'"),
        ("hf://datasets/owner/nothing", "knows no 'owner/nothing'"),
        (f"hf://datasets/{REPO}@v1/nowhere", "no such folder or file"),
    ],
)
def test_what_is_not_there_is_one_line(hub, tmp_path, address, said):
    code, out, err = ingest(hub, address, tmp_path / "lake")
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1, err


def test_a_hub_that_does_not_answer_is_one_line(tmp_path):
    code, out, err = ingest("http://127.0.0.1:9", f"hf://datasets/{REPO}", tmp_path / "lake")
    assert (code, out) == (1, "") and "the hub did not answer" in err and err.count("\n") == 1, err


def test_other_addresses(tmp_path):
    assert pinned(Location.of(tmp_path)) == (Location.of(tmp_path), None)
    with pytest.raises(InputError, match="no address of a data set"):
        pinned(Location("hf://owner/pets"))
