"""Helpers for tests on the tiny lake and its client: commands run in this process, the client in its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
IMAGE_SIZE = 32
CLUSTERS = 8
LAKE_IMAGES = 240
PRIVATE_IMAGES = 120


@dataclass(frozen=True)
class TinyImages:
    """Image files: ``private/class/file`` and ``test/class/file`` of the client, ``lake/domain/class/file``."""

    private: Path
    test: Path
    lake: Path


@dataclass(frozen=True)
class ServedClient:
    """A client's home and the address at which a process of its own serves it."""

    home: Path
    url: str
    process: int

    @property
    def token_file(self) -> Path:
        return self.home / "token"

    @property
    def spent(self) -> dict[str, Any]:
        return ledger_of(self.home)


@contextmanager
def client_process(home: Path, port: int | None = None) -> Iterator[ServedClient]:
    """`ecos client serve` on a real socket."""
    from ecos_cli.local_services import free_port, python, running

    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    command = python("ecos_cli.main", "client", "serve", "--home", str(home), "--port", str(port))
    log = home.parent / "serve.log"
    environment = {"PYTHONPATH": str(ROOT)}
    with running("the client", command, url=url, health="/v1/health", log=log, environment=environment) as up:
        yield ServedClient(home, url, up.process.pid)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that it told on standard error."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("ecos: "), self.err
        assert not self.out
        return lines[0]


def ecos(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """The command as a person runs it, in this process: its exit code and what it printed."""
    from ecos_cli.main import main

    before = sys.argv
    sys.argv = ["ecos", *arguments]
    try:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
    finally:
        sys.argv = before
    return Ended(int(ended.value.code or 0), captured.out, captured.err)


def ecos_json(*arguments: str) -> dict[str, Any]:
    """The one JSON object that a command prints, run in this process."""
    from ecos_cli.main import app

    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def ledger_of(home: Path) -> dict[str, Any]:
    """Releases charged so far, and what they cost."""
    told = ecos_json("client", "ledger", "--home", str(home))
    return {"events": told["events"], "epsilon": told["epsilon_spent"]}


def change_policy(home: Path, **rules: Any) -> None:
    """Edit the owner's policy file."""
    import yaml

    path = home / "policy.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **rules}))
