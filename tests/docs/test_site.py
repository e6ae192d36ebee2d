"""The documentation's commands do what it says (tests/docs/test_built_site.py looks at the built pages).

Every block of commands says how it is tested. ``bash test`` is run in a shell, ``python test`` by this
interpreter, all blocks of a page in order in one folder. ``background=ADDRESS`` starts the command and waits
until the address answers; ``given=WHAT`` puts things into the folder first (see ``GIVEN``). ``not-run=REASON``
gives a reason of ``pages.NOT_RUN``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ecos_cli.local_services import free_port, running
from tests.docs.pages import DOCS, NOT_RUN, PAGES, README, ROOT, Block, blocks
from tests.tiny_support import TinyImages

RUN_PAGES = [page for page in PAGES if any(block.is_run for block in blocks(page))]
COMMANDS = [block for page in PAGES for block in blocks(page) if block.is_commands]


def test_the_how_to_guides_are_run() -> None:
    run = {page.relative_to(DOCS).as_posix() for page in RUN_PAGES if page.is_relative_to(DOCS)}
    guides = {path.relative_to(DOCS).as_posix() for path in (DOCS / "how-to").glob("*.md")}
    assert guides <= run | {"how-to/gpu.md", "how-to/outsource.md"}  # tests/flows run what the latter shows
    assert "tutorial.md" in run and README in RUN_PAGES


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.name)
def test_every_block_of_commands_is_run_or_says_why_not(block: Block) -> None:
    assert block.is_run or block.options.get("not-run") in NOT_RUN, f"{block.name}: neither test nor not-run"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_in_an_indented_block_or_a_block_without_a_language(page: Path) -> None:
    outside = "\n".join(
        line for line in re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S).splitlines()
    )
    assert not re.findall(r"^ {4}(?:ecos|pip|make|python|bash|\$) .*", outside, re.M)
    for block in blocks(page):
        if not block.language or block.language == "text":
            assert not re.findall(r"^\$? ?(?:ecos|pip|make) ", block.body, re.M), block.name


def test_the_reference_covers_every_package_and_the_navigation_every_page() -> None:
    told = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    packages = {path.parent.name for path in (ROOT / "ecos_core").glob("*/__init__.py")}
    assert packages == {name for name in packages if f"::: ecos_core.{name}" in told}
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert not [
        p for page in DOCS.rglob("*.md") if (p := page.relative_to(DOCS).as_posix()) not in navigation
    ]


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest, tiny_images: TinyImages
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    environment = with_commands(tmp_path / "bin")
    with ExitStack() as services:
        for block in on_free_ports([block for block in blocks(page) if block.is_run]):
            for what in filter(None, block.options.get("given", "").split(",")):
                GIVEN[what](request, work)
            if "background" in block.options:
                line = ["bash", "-c", f"cd '{work}' && exec {block.body.strip()}"]
                log, address = tmp_path / f"{block.line}.log", block.options["background"]
                started = running(
                    block.name, line, url=address, health="", log=log, environment=environment, wait=False
                )
                wait_for(address, services.enter_context(started).process, log)
            else:
                run(block, work, environment)


def with_commands(folder: Path) -> dict[str, str]:
    """An environment in which ``ecos`` and ``python`` are this checkout's."""
    folder.mkdir()
    ecos = folder / "ecos"
    ecos.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ecos_cli.main "$@"\n')
    ecos.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def on_free_ports(found: list[Block]) -> list[Block]:
    """The same blocks with the page's ports exchanged for free ones: several test runs share a machine."""
    ports = {urlsplit(block.options["background"]).port for block in found if "background" in block.options}
    free = {str(port): str(free_port()) for port in ports}
    if not free:
        return found
    pattern = re.compile(r"\b(" + "|".join(free) + r")\b")

    def moved(text: str) -> str:
        return pattern.sub(lambda match: free[match[1]], text)

    return [
        replace(
            block,
            body=moved(block.body),
            options={name: moved(value) for name, value in block.options.items()},
        )
        for block in found
    ]


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until something listens there; TLS or not."""
    place = urlsplit(address)
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection((place.hostname, place.port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens at {address}: {log.read_text()}")


def run(block: Block, work: Path, environment: dict[str, str]) -> None:
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
    done = subprocess.run(
        [*command, block.body], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    expected = int(block.options.get("exits", "0"))
    assert done.returncode == expected, (
        f"{block.name}:\n{block.body}\n{done.stdout[-1500:]}{done.stderr[-3000:]}"
    )


def photos(request: pytest.FixtureRequest, work: Path) -> None:
    """``photos`` (a lake's), ``scans`` (private) and ``test-images``, each ``class/file`` or one level more."""
    images: TinyImages = request.getfixturevalue("tiny_images")
    for name, source in (("photos", images.lake), ("scans", images.private), ("test-images", images.test)):
        shutil.copytree(source, work / name)


def lake(request: pytest.FixtureRequest, work: Path) -> None:
    """``lake``, ingested and indexed at 32 px."""
    shutil.copytree(
        request.getfixturevalue("tiny_lake"), work / "lake", ignore=shutil.ignore_patterns("receipts")
    )


def hospital(request: pytest.FixtureRequest, work: Path) -> None:
    """``hospital``, a client's home that may spend epsilon 50 and answers for labels too."""
    from tests.tiny_support import change_policy

    shutil.copytree(request.getfixturevalue("client_home"), work / "hospital")
    change_policy(work / "hospital", operations=["score", "label", "label-histogram"])


def resnet(request: pytest.FixtureRequest, work: Path) -> None:
    """``resnet18.pth``, random weights in a file like a trained one."""
    import torch
    import torchvision

    torch.save(torchvision.models.resnet18(weights=None).state_dict(), work / "resnet18.pth")


def checkout(request: pytest.FixtureRequest, work: Path) -> None:
    """The checkout's folders, for commands that are run from there."""
    for name in ("deployments", "benchmarks", "flows", "tasks", "ecos_core", "ecos_cli"):
        (work / name).symlink_to(ROOT / name)


Given = Callable[[pytest.FixtureRequest, Path], None]
GIVEN: dict[str, Given] = {
    "photos": photos, "lake": lake, "hospital": hospital, "resnet": resnet, "checkout": checkout,
}  # fmt: skip
