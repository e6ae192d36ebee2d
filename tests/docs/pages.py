"""The code blocks of the documentation, and what each is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [*sorted(DOCS.rglob("*.md")), README, ROOT / "CONTRIBUTING.md"]
FENCE = re.compile(r"^(?P<ticks>```+)(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=ticks)$", re.MULTILINE | re.DOTALL)
SHELLS = {"bash", "sh", "console", "shell"}

# Why a block of commands is not run by the test of the pages, or what else runs it.
NOT_RUN = {
    "gpu": "needs a GPU",
    "engine": "needs a container engine; tests/deployments checks the files",
    "network": "installs packages; tests/integration/test_wheel.py and test_light_install.py do it",
    "make": "makes an environment of its own; .ci/run runs it on a clean clone",
    "long": "takes over an hour; tests/benchmarks runs it small",
    "flow": "takes minutes and a Prefect server; tests/flows/test_flows.py runs an outsourcing",
    "data": "needs images that cannot be shipped",
    "systemd": "needs root and systemd; tests/integration/test_deployment.py runs the same topology by hand",
    "stack": "needs the whole stack of the guide; tests/integration/test_deployment.py runs it",
}


@dataclass(frozen=True)
class Block:
    """One code block. ``options``: the words after its language, with their values."""

    page: Path
    line: int
    language: str
    options: dict[str, str]
    body: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return "test" in self.options

    @property
    def is_commands(self) -> bool:
        return self.language in SHELLS


def blocks(page: Path) -> list[Block]:
    """In the order of the page."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        options = {name: value for name, _, value in (word.partition("=") for word in words)}
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, options, match["body"]))
    return found
