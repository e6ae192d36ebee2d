"""The documentation builds strictly, loads nothing from elsewhere, and its commands do what it says.

A fenced block marked ``test`` is run: ``bash test`` in a shell, ``python test`` by this interpreter, all
blocks of a page in order in one empty folder. ``background=ADDRESS`` starts the command and waits until the
address answers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ecos_cli.local_services import running

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^```(?P<language>\w+) test(?P<options>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One command block of a page."""

    language: str
    body: str
    background: str | None


def blocks(page: Path) -> list[Block]:
    found = []
    for match in FENCE.finditer(page.read_text()):
        options = dict(option.split("=", 1) for option in match["options"].split() if "=" in option)
        found.append(Block(match["language"], match["body"], options.get("background")))
    return found


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if blocks(page)]


def test_the_tutorial_is_among_the_pages_that_are_run() -> None:
    assert DOCS / "tutorial.md" in PAGES
    assert len(blocks(DOCS / "tutorial.md")) >= 7


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(page: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    ecos = tmp_path / "bin" / "ecos"
    ecos.parent.mkdir()
    ecos.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ecos_cli.main "$@"\n')
    ecos.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{ecos.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    with ExitStack() as services:
        for number, block in enumerate(blocks(page), start=1):
            command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[
                block.language
            ]
            if block.background:
                line = ["bash", "-c", f"cd '{work}' && exec {block.body.strip()}"]
                log = tmp_path / f"{number}.log"
                address = block.background
                services.enter_context(
                    running(
                        "the page's service", line, url=address, health="", log=log, environment=environment
                    )
                )
                continue
            done = subprocess.run(
                [*command, block.body], cwd=work, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (
                f"block {number} of {page.name}:\n{block.body}\n{done.stderr[-3000:]}"
            )


@pytest.mark.integration
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = re.compile(
        r"<(?:script|img|iframe|link(?! rel=\"canonical\"))[^>]+(?:src|href)=\"(https?:[^\"]+)"
    )
    for page in (tmp_path / "site").rglob("*.html"):
        assert loaded.findall(page.read_text()) == [], page
    text = (tmp_path / "site" / "reference" / "labelling.html").read_text()
    assert "export_handoff" in text
