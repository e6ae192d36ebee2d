"""Lists of web addresses, against a server that answers as the web does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ecos_core.errors import IntegrityError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import web
from tests.ecos_core.lake.test_sources import picture


class _Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name, _, wanted = self.path.strip("/").partition("/")
        if name == "moved":
            self.send_response(302)
            self.send_header("Location", f"/fine/{wanted}" if wanted else "/moved")
            self.end_headers()
        elif name == "silent":
            self.server.released.wait(10)  # type: ignore[attr-defined]
        elif name == "dripping":
            self.send_response(200)
            self.end_headers()
            while not self.server.released.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(b"x")
        elif name == "cut":
            self._answer(200, picture(9), length=10_000)
        elif name == "page":
            self._answer(200, b"<html>please log in</html>")
        elif name == "fine":
            self._answer(200, picture(int(wanted)))
        else:
            self._answer(int(name), b"no")

    def _answer(self, number: int, data: bytes, length: int | None = None) -> None:
        self.send_response(number)
        self.send_header("Content-Length", str(length or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    server.released = threading.Event()  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def listing(tmp_path, *addresses):
    (tmp_path / "list.csv").write_text("url,label\n" + "".join(f"{one},cat\n" for one in addresses))
    return tmp_path / "list.csv"


def test_what_does_not_answer_costs_itself_only(site, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "SILENCE_S", 0.3)
    monkeypatch.setattr(web, "PATIENCE_S", 1.0)
    refused = {
        "403": "answers 403", "404": "answers 404", "503": "answers 503", "silent": "ReadTimeout",
        "cut": "RemoteProtocolError", "moved": "TooManyRedirects", "dripping": "not done after 1 s",
    }  # fmt: skip
    dead = ("http://127.0.0.1:9/a.jpg", "http://no-such-host.invalid/a.jpg", "http://[half/a.jpg", "https://")
    lake = Lake.create(tmp_path / "lake")
    fine = [f"{site}/fine/1", f"{site}/moved/2"]
    report = ingest(
        listing(tmp_path, fine[0], *(f"{site}/{name}" for name in refused), *dead, f"{site}/page", fine[1]),
        lake,
    )
    assert report.added == 2
    assert report.reasons == {"not_an_image": 1, "unreadable": len(refused) + len(dead)}
    details = [row["detail"] for row in lake.read_quarantine(lake.snapshot())]
    for detail in refused.values():
        assert any(detail in one for one in details), (detail, details)


def test_what_is_larger_than_any_picture_is_not_read_to_its_end(site, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "MAX_FILE_BYTES", 20)
    lake = Lake.create(tmp_path / "lake")
    assert ingest(listing(tmp_path, f"{site}/dripping", f"{site}/fine/1"), lake).reasons == {"too_large": 2}


def test_pictures_kept_by_reference_are_fetched_again_and_checked(site, tmp_path, monkeypatch):
    lake = Lake.create(tmp_path / "lake")
    ingest(listing(tmp_path, f"{site}/fine/1"), lake, by_reference=True)
    shard = lake.snapshot().shards[0]
    assert lake.read_images(shard, ["bytes"])["bytes"].to_pylist() == [picture(1)]
    monkeypatch.setattr(_Web, "do_GET", lambda self: self._answer(410, b"gone"))
    with pytest.raises(IntegrityError, match="answers 410"):
        lake.read_images(shard, ["bytes"])
