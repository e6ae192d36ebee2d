"""Out in every format and back: same ids, nothing lost, everything odd kept and counted by name."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ecos_core.errors import InputError
from ecos_core.labelling import (
    FORMATS,
    LabelStore,
    Preannotation,
    export_handoff,
    handoff_status,
    import_handoff,
    write_review,
)
from ecos_core.labelling.preannotations import Guesses
from ecos_core.storage import Location, read_manifest, verify_shards

LABELS = [str(digit) for digit in range(10)]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _export(world: Any, out: Path, **options: Any) -> Any:
    options = {"format": "label-studio", "label_set": LABELS, **options}
    return export_handoff(world.selection, world.lake, out, **options)


def _labels(folder: Path) -> dict[str, str]:
    return {row["sample_id"]: row["label"] for row in pq.read_table(folder / "labels.parquet").to_pylist()}


def _fill_csv(source: Path, target: Path, answers: dict[str, str]) -> Path:
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = answers.get(row["sample_id"], "")
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return target


def _studio(where: Path, answers: list[tuple[str, list[dict[str, Any]]]]) -> Path:
    """Label Studio's JSON export, with the fields that a real server's has."""
    tasks = [
        {"id": number, "data": {"image": "x", "sample_id": id}, "annotations": annotations, "predictions": []}
        for number, (id, annotations) in enumerate(answers, start=1)
    ]
    where.write_text(json.dumps(tasks))
    return where


def _annotation(
    number: int, label: str | None, who: Any = 1, at: str = "2026-01-01T00:00:00Z", **more: Any
) -> Any:
    value = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
    result = [] if label is None else value
    return {
        "id": number,
        "completed_by": who,
        "result": result,
        "was_cancelled": False,
        "created_at": at,
        **more,
    }


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_goes_out_and_comes_back_with_the_same_ids(
    world: Any, tmp_path: Path, format: str
) -> None:
    batch = tmp_path / "batch"
    report = _export(world, batch, format=format)
    assert report.tasks == 24
    manifest = read_manifest(Location.of(batch), "handoff")
    verify_shards(Location.of(batch), manifest)
    assert manifest.inputs["lake"] == world.lake.snapshot().id
    returned = _answer_all(batch, format, world.truth, tmp_path)
    found = import_handoff(batch, returned, tmp_path / "labels", annotator="anna", now=NOW)
    assert _labels(tmp_path / "labels") == world.truth
    assert found.status.complete
    assert found.unknown_samples == 0


def _answer_all(batch: Path, format: str, truth: dict[str, str], scratch: Path) -> Path:
    """What a labelling team would do with each format."""
    if format == "csv":
        return _fill_csv(batch / "tasks.csv", scratch / "done.csv", truth)
    if format == "label-studio":
        tasks = json.loads((batch / "tasks.json").read_text())
        done = [
            (task["data"]["sample_id"], [_annotation(1, truth[task["data"]["sample_id"]])]) for task in tasks
        ]
        return _studio(scratch / "export.json", done)
    if format == "parquet":
        table = pq.read_table(batch / "tasks-with-images.parquet")
        for row in table.to_pylist():
            Image.open(io.BytesIO(row["image_file"]["bytes"])).verify()
        given = pa.array([truth[id] for id in table["sample_id"].to_pylist()])
        pq.write_table(
            table.set_column(table.column_names.index("label"), "label", given), scratch / "done.parquet"
        )
        return scratch / "done.parquet"
    if format == "coco":
        coco = json.loads((batch / "tasks.json").read_text())
        ids = {category["name"]: category["id"] for category in coco["categories"]}
        for image in coco["images"]:
            assert Image.open(batch / image["file_name"]).size == (image["width"], image["height"])
            label = ids[truth[image["sample_id"]]]
            coco["annotations"].append({"id": 1, "image_id": image["id"], "category_id": label})
        (scratch / "done.json").write_text(json.dumps(coco))
        return scratch / "done.json"
    if format == "cvat":
        annotations = ElementTree.parse(batch / "annotations.xml")
        for image in annotations.iter("image"):
            sample_id = Path(image.attrib["name"]).stem
            ElementTree.SubElement(image, "tag", label=truth[sample_id], source="manual")
        annotations.write(scratch / "annotations.xml")
        return scratch / "annotations.xml"
    images = batch / "images"
    for path in list((images / "_unlabelled").iterdir()):
        (images / truth[path.stem]).mkdir(exist_ok=True)
        path.rename(images / truth[path.stem] / path.name)
    return images


def test_images_are_the_lakes_own_bytes(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch")
    stored = {
        row["sample_id"]: row["bytes"]
        for shard in world.lake.snapshot().shards
        for row in world.lake.read_images(shard, ["sample_id", "bytes"]).to_pylist()
    }
    for path in (tmp_path / "batch" / "images").iterdir():
        assert path.read_bytes() == stored[path.stem]


def test_the_same_export_gives_the_same_digest(world: Any, tmp_path: Path) -> None:
    first = _export(world, tmp_path / "a", annotators=["anna", "ben"], overlap=0.5)
    second = _export(world, tmp_path / "b", annotators=["anna", "ben"], overlap=0.5)
    assert first.digest == second.digest
    assert first.assigned["anna"] + first.assigned["ben"] == 24 + 12


def test_suggestions_and_reasons_reach_the_labeller(world: Any, tmp_path: Path) -> None:
    guess = Guesses({world.ids[0]: Preannotation("7", 0.75, "probe")}, "labels by private-knn, epsilon 0.5")
    _export(world, tmp_path / "batch", preannotations=guess, instructions='Look <twice> & "think"')
    tasks = {
        task["data"]["sample_id"]: task
        for task in json.loads((tmp_path / "batch" / "tasks.json").read_text())
    }
    prediction = tasks[world.ids[0]]["predictions"][0]
    assert (prediction["model_version"], prediction["score"]) == ("probe", 0.75)
    assert prediction["result"][0]["value"] == {"choices": ["7"]}
    assert "pick 1, cluster 0 (score 6.5): nearest the centroid" in tasks[world.ids[0]]["data"]["why"]
    assert "predictions" not in tasks[world.ids[1]]
    told = (tmp_path / "batch" / "README.md").read_text()
    assert "1 of 24 images come with a first answer: labels by private-knn, epsilon 0.5." in told


def test_suggestions_alone_are_no_labels(world: Any, tmp_path: Path) -> None:
    guess = Guesses({id: Preannotation("7") for id in world.ids})
    for format in ("coco", "csv"):
        batch = tmp_path / format
        _export(world, batch, format=format, preannotations=guess)
        file = batch / ("tasks.json" if format == "coco" else "tasks.csv")
        assert import_handoff(batch, file, tmp_path / f"labels-{format}", now=NOW).status.labelled == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_set": ["a"]}, "at least two"),
        ({"label_set": ["a", "a"]}, "at least two different"),
        ({"format": "excel"}, "choose one of"),
        ({"preannotations": Guesses({"0": Preannotation("zebra")})}, "'zebra' is not in the label set"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_written(
    world: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _export(world, tmp_path / "batch", **options)
    assert not list((tmp_path / "batch").glob("*"))


def test_a_folder_in_use_is_left_alone(world: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        _export(world, tmp_path)


def test_cancelled_empty_unknown_and_several_are_kept_and_counted(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch")
    a, b, c, d = world.ids[:4]
    both = _annotation(4, "1")
    both["result"] = both["result"] + _annotation(4, "2")["result"]
    answers = [
        (a, [_annotation(1, "3", {"id": 9, "email": "anna@example.org"})]),
        (b, [_annotation(2, None, was_cancelled=True)]),
        (c, []),
        (d, [both]),
        ("f" * 64, [_annotation(5, "3")]),
    ]
    file = _studio(tmp_path / "export.json", answers)
    report = import_handoff(
        tmp_path / "batch", file, tmp_path / "labels", annotators={"anna@example.org": "anna"}
    )
    assert report.new_answers == 5
    assert report.unknown_samples == 1
    assert report.status.statuses == {
        "labelled": 1, "cancelled": 1, "empty": 1, "several labels": 1, "unknown sample": 1,
    }  # fmt: skip
    assert _labels(tmp_path / "labels") == {a: "3"}
    assert next(LabelStore.at(tmp_path / "labels").events()).annotator == "anna"


def test_partial_imports_add_up_and_never_lose_a_label(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch", format="csv")
    first, second = dict(list(world.truth.items())[:10]), dict(list(world.truth.items())[10:])
    labels = tmp_path / "labels"
    for number, part in enumerate((first, second, first)):
        file = _fill_csv(tmp_path / "batch" / "tasks.csv", tmp_path / f"{number}.csv", part)
        report = import_handoff(tmp_path / "batch", file, labels, annotator="anna", now=NOW)
    assert report.repeated
    assert report.new_answers == 0
    assert report.status.complete
    assert _labels(labels) == world.truth
    assert len(read_manifest(Location.of(labels), "labels").shards) == 2
    (labels / "labels.parquet").unlink()
    assert {id: label.label for id, label in LabelStore.at(labels).resolve().labels.items()} == world.truth


def test_a_later_answer_replaces_an_earlier_one_of_the_same_person_only(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch")
    a = world.ids[0]
    labels = tmp_path / "labels"
    newer = _studio(tmp_path / "new.json", [(a, [_annotation(1, "5", at="2026-02-01T00:00:00Z")])])
    older = _studio(tmp_path / "old.json", [(a, [_annotation(1, "4", at="2026-01-31T23:00:00-03:00")])])
    import_handoff(tmp_path / "batch", older, labels)
    import_handoff(tmp_path / "batch", newer, labels)
    assert _labels(labels) == {a: "4"}, "02:00 UTC is later than midnight"
    assert len(list(LabelStore.at(labels).events())) == 2


def test_changed_label_sets_hold_answers_back_until_accepted_or_renamed(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch")
    a, b = world.ids[:2]
    file = _studio(tmp_path / "e.json", [(a, [_annotation(1, "seven")]), (b, [_annotation(2, "unreadable")])])
    labels = tmp_path / "labels"
    report = import_handoff(tmp_path / "batch", file, labels)
    assert report.unknown_labels == ("seven", "unreadable")
    assert report.status.outside_label_set == 2
    assert _labels(labels) == {}
    report = import_handoff(
        tmp_path / "batch", file, labels, renames={"seven": "7"}, accept_labels=["unreadable"]
    )
    assert report.repeated
    assert report.unknown_labels == ()
    assert _labels(labels) == {a: "7", b: "unreadable"}
    with pytest.raises(InputError, match="not in the label set"):
        import_handoff(tmp_path / "batch", file, labels, renames={"seven": "sept"})


def test_majority_conflict_review_and_final_word(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch", annotators=["1", "2", "3"], overlap=1.0, raters=3)
    a, b, c = world.ids[:3]
    votes = [
        (a, [_annotation(1, "1", 1), _annotation(2, "1", 2), _annotation(3, "7", 3)]),
        (b, [_annotation(4, "1", 1), _annotation(5, "7", 2)]),
        (c, [_annotation(6, "2", 1), _annotation(7, None, 1, "2026-03-01T00:00:00Z", was_cancelled=True)]),
    ]
    labels, names = tmp_path / "labels", {"1": "1", "2": "2", "3": "3"}
    file = _studio(tmp_path / "e.json", votes)
    status = import_handoff(tmp_path / "batch", file, labels, annotators=names).status
    assert _labels(labels) == {a: "1", c: "2"}
    assert (status.conflicts, status.disagreements, status.withdrawn) == (1, 1, 1)
    assert status.progress["3"] == (1, 24)
    assert status.agreement.samples == 2
    assert write_review(tmp_path / "batch", labels, tmp_path / "review.csv") == 3
    with (tmp_path / "review.csv").open(newline="") as review:
        rows = list(csv.DictReader(review))
    assert [(row["sample_id"], row["why"]) for row in rows] == [
        (b, "conflict"), (a, "outvoted"), (c, "skipped later by 1"),
    ]  # fmt: skip
    assert rows[0]["votes"] == "1: 1; 2: 7"
    answered = _fill_csv(tmp_path / "review.csv", tmp_path / "reviewed.csv", {b: "7", a: "7"})
    import_handoff(tmp_path / "batch", answered, labels, annotator="chief", final=True, now=NOW)
    assert _labels(labels) == {a: "7", b: "7", c: "2"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "not Label Studio's JSON export"),
        ("a.json", '[{"id": 1, "image": "x"}]', "not Label Studio's JSON export"),
        ("a.csv", "id,answer\n1,2\n", "label, sample_id missing"),
        ("a.csv", b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_files_that_are_something_else_are_refused(
    world: Any, tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    _export(world, tmp_path / "batch")
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        import_handoff(tmp_path / "batch", file, tmp_path / "labels")
    assert not (tmp_path / "labels" / "manifest.json").exists()


def test_an_unfinished_handoff_is_refused(world: Any, tmp_path: Path) -> None:
    _export(world, tmp_path / "batch")
    shutil.move(tmp_path / "batch" / "manifest.json", tmp_path / "gone")
    with pytest.raises(InputError, match="no finished handoff"):
        handoff_status(tmp_path / "batch", tmp_path / "labels")
