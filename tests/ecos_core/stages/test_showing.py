"""The page of a selection, on a real lake, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from ecos_core.clustering.clustering import cluster_lake
from ecos_core.clustering.duplicates import find_duplicates
from ecos_core.errors import InputError
from ecos_core.features.extraction import extract_lake
from ecos_core.lake.lake import Lake
from ecos_core.reporting import picks
from ecos_core.sampling.config import SamplerConfig
from ecos_core.stages.selecting import Choice, Selecting
from ecos_core.stages.showing import show_selection
from ecos_core.storage import Location
from tests.browser_support import local_page


@pytest.fixture
def chosen(grow, colour_extractor, tmp_path: Path) -> tuple[Lake, str]:
    """20 of 40 pictures, at random."""
    lake = grow(40, 1)
    clustering = cluster_lake(lake, extract_lake(lake, colour_extractor), clusters=4)
    find_duplicates(lake, clustering)
    choice = Choice(budget=20, sampler="random", config=SamplerConfig(), seed=0)
    Selecting(lake, clustering, choice, Location.of(tmp_path / "selection")).select(None)
    return lake, str(tmp_path / "selection")


@pytest.mark.integration
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_reader_filters_enlarges_and_goes_on_by_keyboard(
    chosen: tuple[Lake, str], tmp_path: Path, width: int, scheme: str
) -> None:
    lake, selection = chosen
    file = tmp_path / "page.html"
    assert show_selection(lake, selection, file) == 20
    assert not list(tmp_path.glob("*-pictures"))
    with local_page(file, width=width, scheme=scheme) as view:
        assert view.locator("#grid li").count() == 20
        view.locator("#grid button").first.click()
        assert "1 of 20" in view.inner_text("dialog figcaption")
        view.keyboard.press("ArrowRight")
        told = view.inner_text("dialog figcaption")
        assert "2 of 20" in told and "random" in told and "class" in told
        view.keyboard.press("Escape")
        assert not view.evaluate("document.getElementById('one').open")
        value = view.locator("select[name=label] option").nth(1).get_attribute("value")
        view.select_option("select[name=label]", value)
        left = view.locator("#grid li").count()
        assert 0 < left < 20 and view.inner_text("#count") == f"{left} of 20"
        view.click("button[type=reset]")
        expect(view.locator("#grid li")).to_have_count(20)
        view.click("#clusters summary")
        view.click("button[data-sort=size]")
        sizes = [int(cell) for cell in view.locator("#clusters tbody td:nth-child(2)").all_inner_texts()]
        assert sizes == sorted(sizes, reverse=True) and sum(sizes) == 40


@pytest.mark.integration
def test_many_pictures_lie_beside_the_page(
    chosen: tuple[Lake, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picks, "INSIDE_THE_PAGE", 10)
    lake, selection = chosen
    file = tmp_path / "page.html"
    show_selection(lake, selection, file)
    assert len(list((tmp_path / "page-pictures").iterdir())) == 20
    assert "data:image/png" not in file.read_text()
    with local_page(file) as view:
        for picture in view.locator("#grid img").all():
            picture.evaluate("image => image.decode()")


def test_the_first_picks_alone_and_a_budget_beyond(chosen: tuple[Lake, str], tmp_path: Path) -> None:
    lake, selection = chosen
    assert show_selection(lake, selection, tmp_path / "page.html", budget=5) == 5
    with pytest.raises(InputError, match="1 to 20"):
        show_selection(lake, selection, tmp_path / "page.html", budget=21)


def test_what_a_lake_says_cannot_become_code() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    pick = picks.Pick(0, "a", 0, hostile, None, 1, None, hostile, hostile, hostile, hostile)
    page = picks.render_picks(picks.PicksPage(hostile, hostile, {hostile: hostile}, [pick], []))
    assert "<img src=x" not in page and page.count("</script>") == 2
