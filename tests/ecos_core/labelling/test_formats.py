"""What labellers see: keys that fit, choices in sight, a page of pictures that needs nothing else, paths that work."""

from __future__ import annotations

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ecos_core.errors import InputError
from ecos_core.labelling import FORMATS, Preannotation, export_handoff, import_handoff
from ecos_core.labelling.formats import contact_sheet
from ecos_core.labelling.formats.label_studio import KEYS, hotkeys, label_config
from ecos_core.labelling.label_set import lake_classes, named_label_set
from ecos_core.labelling.preannotations import Guesses
from tests.browser_support import local_page

DIGITS = [str(digit) for digit in range(10)]


def exported(world: Any, out: Path, format: str, **options: Any) -> Path:
    export_handoff(world.selection, world.lake, out, format=format, **{"label_set": DIGITS, **options})
    return out


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        (DIGITS, DIGITS),
        (["cat", "dog", "fox"], ["1", "2", "3"]),
        (["cat", "1", "dog"], ["2", "1", "3"]),
        (["A", "a", "b"], ["a", "1", "b"]),
        (["0", "no digit", "1"], ["0", "2", "1"]),
    ],
)
def test_a_label_that_is_one_key_has_its_own(labels: list[str], keys: list[str]) -> None:
    assert hotkeys(labels) == keys


def test_more_labels_than_keys() -> None:
    found = hotkeys([f"class {number}" for number in range(50)])
    assert found[: len(KEYS)] == list(KEYS) and set(found[len(KEYS) :]) == {None}


def test_no_image_pushes_the_choices_out_of_sight() -> None:
    view = ElementTree.fromstring(label_config(DIGITS, "Which <digit> is it?"))
    names = [part.tag for part in view]
    assert names.index("Choices") < names.index("Image")
    image = view.find("Image")
    assert image is not None and image.get("maxHeight", "").endswith("vh")
    assert [choice.get("hotkey") for choice in view.iter("Choice")] == DIGITS


@pytest.mark.parametrize("format", FORMATS)
def test_the_readme_names_paths_that_work(world: Any, tmp_path: Path, format: str) -> None:
    told = (exported(world, tmp_path / "batch", format) / "README.md").read_text()
    assert f"ecos handoff import {tmp_path / 'batch'} " in told
    if format == "label-studio":
        assert f"`{tmp_path / 'batch'}` (a relative one is refused)" in told


def test_the_contact_sheet_stands_alone(world: Any, tmp_path: Path) -> None:
    guess = Guesses({world.ids[0]: Preannotation("7", 0.75, "probe")}, "a model's guesses")
    batch = exported(
        world,
        tmp_path / "batch",
        "csv",
        preannotations=guess,
        annotators=["anna", "ben"],
        instructions="<b>Look</b>",
    )
    for name in ("tasks", "tasks-anna", "tasks-ben"):
        page = (batch / f"{name}.html").read_text()
        with (batch / f"{name}.csv").open(newline="") as file:
            lines = {row["sample_id"]: number for number, row in enumerate(csv.DictReader(file), start=2)}
        cards = page.split('<article data-id="')[1:]
        assert len(cards) == len(lines)
        for card in cards:
            assert f"line {lines[card[:64]]}" in card and "data:image/jpeg;base64," in card
        assert 'src="images/' not in page and "http" not in page and "&lt;b&gt;Look" in page
    assert "first answer: 7" in (batch / "tasks.html").read_text()


def test_a_large_contact_sheet_shows_the_files_beside_it(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "SELF_CONTAINED", 10)
    page = (exported(world, tmp_path / "batch", "csv") / "tasks.html").read_text()
    assert page.count('src="images/') == 24 and "base64" not in page


@pytest.mark.parametrize("width", [380, 1280])
def test_labels_clicked_on_the_contact_sheet_come_back(world: Any, tmp_path: Path, width: int) -> None:
    batch = exported(world, tmp_path / "batch", "csv", label_set=["big, round", 'say "x"', "café"])
    with local_page(batch / "tasks.html", width=width) as page:
        page.fill("#who", "Zoë")
        for place in range(24):
            page.locator("article").nth(place).locator("button").nth(place % 3).click()
        page.reload()
        assert page.locator("article.done").count() == 24, "a reload loses nothing"
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "back.csv")
    status = import_handoff(batch, tmp_path / "back.csv", tmp_path / "labels").status
    assert status.labels == {"big, round": 8, "café": 8, 'say "x"': 8}


def test_cvat_gets_tags_under_the_names_of_the_files(world: Any, tmp_path: Path) -> None:
    guess = Guesses({world.ids[0]: Preannotation("7", 0.75, "probe")}, "a model's guesses")
    batch = exported(world, tmp_path / "batch", "cvat", preannotations=guess)
    assert json.loads((batch / "labels.json").read_text())[3] == {
        "name": "3",
        "type": "tag",
        "attributes": [],
    }
    root = ElementTree.parse(batch / "annotations.xml").getroot()
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == DIGITS
    images = {image.get("name"): image for image in root.iter("image")}
    assert set(images) == {path.name for path in (batch / "images").iterdir()}
    tagged = {name: [tag.attrib for tag in image] for name, image in images.items() if len(image)}
    assert list(tagged.values()) == [[{"label": "7", "source": "auto"}]]


def test_coco_is_whole_to_strict_readers(world: Any, tmp_path: Path) -> None:
    guesses = Guesses({id: Preannotation("7") for id in world.ids}, "a model's guesses")
    batch = exported(world, tmp_path / "batch", "coco", preannotations=guesses)
    found = json.loads((batch / "tasks.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in found["images"]}
    assert all((batch / image["file_name"]).is_file() for image in found["images"])
    for annotation in found["annotations"]:
        width, height = sizes[annotation["image_id"]]
        assert (annotation["bbox"], annotation["area"]) == ([0, 0, width, height], width * height)
        assert annotation["segmentation"] == [] and "score" not in annotation
    assert all({"id", "name", "supercategory"} == category.keys() for category in found["categories"])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("\ufeffcat\r\ndog\r\n\r\n".encode(), ("cat", "dog")),
        ("cat\u00a0\ndog\u200b\n".encode(), ("cat", "dog")),
        ("cat\ndog".encode("utf-16"), ("cat", "dog")),
        (unicodedata.normalize("NFD", "café\nthé\n").encode(), ("café", "thé")),
        ("a\u2028b\nc\x85d\n".encode(), ("a b", "c d")),
        (b"1\n01\n1.0\n", ("1", "01", "1.0")),
        (b"cat, black\ndog\n", ("cat, black", "dog")),
    ],
)
def test_label_sets_as_people_save_them(tmp_path: Path, data: bytes, found: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    assert named_label_set(str(tmp_path / "labels.txt")) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no/such.txt", "no such file of labels"), ("labels.txt", "no such file of labels"), ("cat", "at least two"),
        ("cat,cat ", "'cat' stands there twice"),
    ],
)  # fmt: skip
def test_label_sets_that_are_none(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        named_label_set(text)


def test_a_label_set_in_another_encoding_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("café\ndog\n".encode("cp1252"))
    with pytest.raises(InputError, match="Windows-1252"):
        named_label_set(str(tmp_path / "labels.txt"))


def test_the_lakes_own_classes(world: Any) -> None:
    assert lake_classes(world.lake) == tuple(DIGITS)
