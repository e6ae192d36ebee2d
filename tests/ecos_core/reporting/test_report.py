"""The report: complete with data, honest without, and nothing on it that needs a network."""

from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecos_core.errors import InputError
from ecos_core.reporting import Montage, PrivacyStatement, ReportData, ResultRow, contact_sheet, render_report
from tests.browser_support import local_page
from tests.ecos_core.reporting.example import example, png

ABSENT = [
    "Nothing was trained in this run.",
    "The client was not asked in this run: nothing was spent.",
    "No scores:",
    "No quotas:",
    "No pictures of the selection",
    "No map of the lake.",
    "No coverage curve.",
    "Near-duplicates were not looked for.",
    "No summary of the lake.",
    "No clustering.",
    "No digests of the inputs",
]


@pytest.fixture(scope="module")
def data() -> ReportData:
    return example()


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return render_report(data)


class _Balance(HTMLParser):
    """Collects addresses, and checks that every element is closed in the order opened."""

    void = frozenset({"meta", "link", "img", "br", "hr", "path", "use", "image", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        if tag != "a":
            self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def test_a_full_report_shows_every_part(page: str) -> None:
    assert not [line for line in ABSENT if line in page]
    assert page.count("<svg") == 6
    for fact in ("0.582", "0.830", "0.860", "1.170", "add-remove", "6.12", "1,797", "ab" * 32, "MLflow run"):
        assert fact in page


def test_an_empty_report_says_what_is_absent() -> None:
    page = render_report(ReportData(title="Nothing yet"))
    assert not [line for line in ABSENT if line not in page]
    assert "<svg" not in page


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert [address[:40] for address in parser.addresses if not address.startswith(("data:", "#"))] == []
    assert "default-src 'none'" in page
    assert "<script" not in page


def test_ids_of_several_figures_do_not_clash(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', page))
    assert {first or second for first, second in used} <= set(ids)


def test_the_same_data_gives_the_same_page(data: ReportData, page: str) -> None:
    assert render_report(data) == page


def test_text_from_outside_is_escaped() -> None:
    page = render_report(ReportData(title="<script>alert(1)</script>", parameters={"<b>": "<i>"}))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_bytes_that_are_no_image_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="no readable image"):
        render_report(ReportData(title="t", montages=(Montage("m", (b"not an image",)),)))


def test_a_contact_sheet_holds_every_image_in_rows() -> None:
    pictures = [png(np.full((8, 8), shade)) for shade in (0, 8, 16)]
    sheet = Image.open(io.BytesIO(contact_sheet(pictures, columns=2, pixels=32)))
    assert sheet.size == (2 * 36 + 4, 2 * 36 + 4)
    assert [sheet.getpixel(at)[0] for at in ((20, 20), (56, 20), (20, 56), (56, 56))] == [255, 135, 15, 255]
    with pytest.raises(InputError, match="no images"):
        contact_sheet([])


def test_one_budget_and_one_sampler_still_give_a_figure() -> None:
    row = ResultRow("ood", "sketch", "my_own", 50, 0.5, 0.0, (1,))
    page = render_report(ReportData(title="t", results=(row,)))
    assert "my own" in page
    assert "Over random choice" not in page


def test_several_uses_are_told_apart(data: ReportData, page: str) -> None:
    tuned = tuple(
        dataclasses.replace(row, use="fine_tune", accuracy_mean=row.accuracy_mean + 0.05)
        for row in data.results
    )
    both = render_report(dataclasses.replace(data, results=data.results + tuned))
    assert both.count("<svg") == page.count("<svg") + 1
    assert "Accuracy by sampler, linear probe" in both and "Accuracy by sampler, fine-tuning" in both
    assert "<th>Use</th>" in both and "<th>Use</th>" not in page
    assert "trained on 1,000 images by fine-tuning" in both, "the use that ECOS is best in"
    ids = re.findall(r'\bid="([^"]+)"', both)
    assert len(ids) == len(set(ids))


def test_what_is_left_never_falls_below_zero() -> None:
    told = PrivacyStatement(1, 2.5, 2.6, 1e-5, "replace", 5, epsilon_limit=2.0)
    assert told.epsilon_remaining == 0
    assert dataclasses.replace(told, epsilon_limit=None).epsilon_remaining is None
    assert "not told" in render_report(
        ReportData(title="t", privacy=dataclasses.replace(told, epsilon_limit=None))
    )


@pytest.mark.integration
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_real_browser_shows_it(page: str, tmp_path: Path, width: int, scheme: str) -> None:
    """No console message, no request, no sideways scrolling, every picture decoded."""
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    with local_page(file, width=width, scheme=scheme) as view:
        text = "[...document.querySelectorAll('svg text')]"
        smallest = f"Math.min(...{text}.map(t => t.getBoundingClientRect().height))"
        assert view.evaluate(smallest) >= 9, "text in the figures is too small to read"
