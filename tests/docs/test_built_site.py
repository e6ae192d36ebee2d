"""The documentation builds strictly, loads nothing from elsewhere, and every page shows what its source says.

``mkdocs build --strict`` passes over a fence or a table that it does not recognise and prints it as prose: so
headings, code blocks and tables of source and page are compared here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, FENCE, ROOT

pytestmark = pytest.mark.integration
SOURCES = sorted(DOCS.rglob("*.md"))
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@dataclass
class Shown(HTMLParser):
    """What a reader sees of a page's article: headings, prose, and how many tables, code blocks and pictures."""

    headings: list[str] = field(default_factory=list)
    prose: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        attributes = dict(attrs)
        if tag == "img":
            self.pictures.append(attributes.get("src") or "")
        if tag in HEADINGS:
            self.headings.append("")
        if tag == "a" and attributes.get("class") == "headerlink":
            tag = "headerlink"
        if tag not in ("img", "br", "hr", "input", "meta", "link", "col", "wbr"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() not in (tag, "headerlink" if tag == "a" else tag):
            pass

    def handle_data(self, data: str) -> None:
        if "headerlink" in self._inside or "pre" in self._inside:
            return
        if any(tag in HEADINGS for tag in self._inside):
            self.headings[-1] += data
        elif not {"code", "script", "style"} & set(self._inside):
            self.prose.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def shown(site: Path, source: Path) -> Shown:
    html = (site / source.relative_to(DOCS).with_suffix(".html")).read_text()
    found = Shown()
    found.feed(html[html.index("<article") : html.index("</article>")])
    return found


def plain(markdown: str) -> str:
    """A heading's words, without the marks of Markdown."""
    linked = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"[`*]|\{[^}]*\}", "", linked).strip()


def test_nothing_is_loaded_from_elsewhere_and_the_api_is_described(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe|link(?! rel=\"canonical\"))[^>]+(?:src|href)=\"(https?:[^\"]+)"
    )
    for page in site.rglob("*.html"):
        assert loaded.findall(page.read_text()) == [], page
    assert "export_handoff" in (site / "reference" / "labelling.html").read_text()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_a_page_shows_the_headings_code_tables_and_pictures_of_its_source(site: Path, source: Path) -> None:
    text, page = source.read_text(), shown(site, source)
    outside = FENCE.sub("", text)
    headings = [plain(title) for title in re.findall(r"^#{1,6} +(.+?)(?: +#+)?$", outside, re.M)]
    assert [title for title in map(str.strip, page.headings) if title in headings] == headings
    assert page.count["pre"] >= len(FENCE.findall(text))
    assert page.count["table"] >= len(re.findall(r"^ *\|(?: *:?-+:? *\|)+ *$", outside, re.M))
    prose = "".join(page.prose)
    assert "```" not in prose, "a fence that was not recognised"
    assert not re.search(r"^\s*\|.*\|\s*$", prose, re.M), "a table that was not recognised"
    for picture in page.pictures:
        assert ((site / source.relative_to(DOCS)).parent / picture).is_file(), picture
