"""Commands that need a Prefect server, where there is none: one line with the address, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = (
    "deploy", "--lake", "lake", "--client", "http://127.0.0.1:9", "--token-file", "t", "--out", "o", "--tracking", "x"
)  # fmt: skip


@pytest.fixture(params=[(404, b"not found"), (200, b"<html>welcome</html>"), (200, b"{}")])
def another(request: pytest.FixtureRequest) -> Iterator[str]:
    """A web server that is no Prefect server."""
    number, page = request.param

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(number)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def ecos(url: str, home: Path, *arguments: str) -> tuple[int, list[str]]:
    """In a process of its own: Prefect reads its settings once."""
    done = subprocess.run(
        [sys.executable, "-m", "ecos_cli.main", *arguments],
        env={**os.environ, "PREFECT_API_URL": url, "PREFECT_HOME": str(home)},
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def outsource(folder: Path) -> Path:
    (folder / "outsource.yaml").write_text(
        f"index: {{lake: {folder}/lake}}\nout: {folder}/out\n"
        "client: {url: 'http://127.0.0.1:9', token_file: token}\nbudgets: [5]\n"
    )
    return folder / "outsource.yaml"


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("http://127.0.0.1:9/api", 1, "no Prefect server answers there"),
        ("127.0.0.1:9/api", 2, "no address of the web"),
        ("http://[half/api", 2, "no address of the web"),
    ],
)
def test_a_server_that_is_away(tmp_path, url, code, said):
    for command in (DEPLOY, ("run", str(outsource(tmp_path)), "--home", str(tmp_path / "home"), "--json")):
        got, lines = ecos(url, tmp_path / "prefect", *command)
        assert got == code and len(lines) == 1 and url in lines[0] and said in lines[0], lines


def test_another_server(tmp_path, another):
    code, lines = ecos(another, tmp_path / "prefect", *DEPLOY)
    assert code == 2 and len(lines) == 1 and another in lines[0] and "no Prefect server" in lines[0], lines
