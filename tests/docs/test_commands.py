"""Every ``ecos`` command that the documentation shows exists, with every option it is shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ecos_cli.main import app
from ecos_core.config import OutsourceConfig, validated
from tests.docs.pages import FENCE, PAGES, blocks

INLINE = re.compile(r"`(ecos [^`]+)`")


def shown(page: Path) -> Iterator[str]:
    """The ``ecos`` commands of the code blocks and of the text, each on one line."""
    for block in blocks(page):
        for line in block.body.replace("\\\n", " ").splitlines():
            if (command := line.removeprefix("$ ").strip()).startswith("ecos "):
                yield " ".join(command.split())
    for command in INLINE.findall(FENCE.sub("", page.read_text())):
        yield " ".join(command.split())


COMMANDS = sorted({(page.name, line) for page in PAGES for line in shown(page)})


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 25


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_the_command_and_its_options_exist(page: str, line: str) -> None:
    words = shlex.split(line.replace("…", ""), comments=True)[1:]
    command: Any = typer.main.get_command(app)
    context: Any = None
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        name = words.pop(0).rstrip(",")
        if name.isupper():
            return
        found = command.get_command(context, name)
        assert found is not None, f"{page}: no command '{name}' in: {line}"
        command = found
    if line.startswith("ecos bench "):
        return  # it hands its options on to a benchmark
    known = {
        option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
    }
    for word in words:
        if word.startswith("--"):
            option = word.split("=")[0].rstrip(",.;:")
            assert option in known | {"--help", "--version"}, f"{page}: no option {option} in: {line}"


def test_the_outsourcing_shown_is_a_valid_one() -> None:
    page = next(page for page in PAGES if page.name == "outsource.md")
    (text,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    found = validated(yaml.safe_load(text), OutsourceConfig, str(page))
    assert len(found.compared_uses) == 3
