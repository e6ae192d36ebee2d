"""What really comes back: other tools' habits, spreadsheets' habits, people's slips.

Nothing of it may turn a guess into a label, lose a click without a word, or make two people of one.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecos_core.errors import InputError
from ecos_core.labelling import LabelStore, Preannotation, export_handoff, import_handoff, write_review
from ecos_core.labelling.preannotations import Guesses, read_preannotations
from ecos_core.storage import Location, read_manifest, write_manifest

LABELS = ["cat", "dog", "fox"]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Batch:
    """A hand-off of the world's 24 pictures, and the labels folder beside it."""

    def __init__(
        self, world: Any, folder: Path, format: str = "label-studio", guesses: Any = None, **more: Any
    ):
        self.folder, self.labels_folder, self.ids = folder / "batch", folder / "labels", world.ids
        suggested = Guesses({id: Preannotation(label, 0.6, "probe") for id, label in (guesses or {}).items()})
        export_handoff(
            world.selection, world.lake, self.folder, format=format,
            **{"label_set": LABELS, "preannotations": suggested, **more},
        )  # fmt: skip

    def take(self, returned: Path, **options: Any) -> Any:
        return import_handoff(self.folder, returned, self.labels_folder, now=NOW, **options)

    @property
    def labels(self) -> dict[str, str]:
        return {id: label.label for id, label in LabelStore.at(self.labels_folder).resolve().labels.items()}

    @property
    def reviewed(self) -> dict[str, str]:
        where = self.folder.parent / "review.csv"
        write_review(self.folder, self.labels_folder, where)
        with where.open(newline="") as file:
            return {row["sample_id"]: row["why"] for row in csv.DictReader(file)}


def choice(
    label: Any, who: Any = 1, control: str = "label", at: str | None = None, **more: Any
) -> dict[str, Any]:
    labels = label if isinstance(label, list) else [label]
    region = {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": labels}}
    return {"id": 1, "completed_by": who, "result": [region], "updated_at": at, "lead_time": 2.0, **more}


def studio(where: Path, answers: dict[str, list[Any]], **more: Any) -> Path:
    tasks = [
        {"id": number, "data": {"image": "x", "sample_id": id}, "annotations": said, **more}
        for number, (id, said) in enumerate(answers.items())
    ]
    where.write_text(json.dumps(tasks))
    return where


def table(where: Path, rows: list[tuple[str, ...]], header: str = "sample_id,label,annotator") -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([header.split(","), *rows])
    where.write_text(text.getvalue(), encoding="utf-8")
    return where


def coco(batch: Batch, where: Path, answers: dict[str, str], **changes: Any) -> Path:
    """What a tool writes that keeps nothing but COCO's own fields."""
    given = json.loads((batch.folder / "tasks.json").read_text())
    numbers = {row["name"]: row["id"] for row in given["categories"]}
    kept = ("id", "file_name", "width", "height")
    images = [{name: image[name] for name in kept} for image in given["images"]]
    number_of = {image["sample_id"]: image["id"] for image in given["images"]}
    annotations = [
        {
            "id": row,
            "image_id": number_of[id],
            "category_id": numbers[label],
            "bbox": [0, 0, 9, 9],
            "attributes": {},
        }
        for row, (id, label) in enumerate(answers.items())
    ]
    found = {"images": images, "categories": given["categories"], "annotations": annotations, **changes}
    where.write_text(json.dumps(found))
    return where


class TestGuesses:
    """A first answer is known from the hand-off, whatever the tool keeps or drops of it."""

    def test_coco_that_lost_our_fields(self, world: Any, tmp_path: Path) -> None:
        guesses = dict.fromkeys(world.ids, "cat")
        batch = Batch(world, tmp_path, "coco", guesses)
        report = batch.take(coco(batch, tmp_path / "back.json", guesses))
        assert (report.status.labelled, report.counts) == (0, {"unchanged first answer": 24})
        assert report.status.because == {"unchanged first answer": 24}
        changed = coco(batch, tmp_path / "half.json", guesses | dict.fromkeys(world.ids[:5], "dog"))
        assert batch.take(changed).status.labels == {"dog": 5}
        looked_at = batch.take(changed, confirmed=True)
        assert looked_at.status.labels == {"cat": 19, "dog": 5}, "a person says that each was looked at"

    def test_coco_that_kept_our_fields(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "coco", dict.fromkeys(world.ids, "cat"))
        given = json.loads((batch.folder / "tasks.json").read_text())
        assert batch.take(batch.folder / "tasks.json").status.labelled == 0
        given["annotations"][0]["annotator"] = "anna"
        given["annotations"].append(dict(given["annotations"][1], id=99))
        given["annotations"].append(dict(given["annotations"][2], id=100, category_id=2, suggested_by=None))
        (tmp_path / "back.json").write_text(json.dumps(given))
        batch.take(tmp_path / "back.json")
        by_image = {image["id"]: image["sample_id"] for image in given["images"]}
        assert batch.labels == {by_image[1]: "cat", by_image[2]: "cat", by_image[3]: "dog"}, (
            "signed, set again, other"
        )

    def test_folders_are_sorted_by_people_only(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "image-folder", dict.fromkeys(world.ids[:10], "cat"))
        images = batch.folder / "images"
        assert {path.name for path in images.iterdir()} == {"cat", "dog", "fox", "_unlabelled", "_suggested"}
        assert batch.take(images).counts == {"empty": 14, "unchanged first answer": 10}
        looked_at = next((images / "_suggested" / "cat").iterdir())
        shutil.move(looked_at, images / "cat" / looked_at.name)
        assert batch.take(images).status.labels == {"cat": 1}

    def test_folders_of_an_older_hand_off(self, world: Any, tmp_path: Path) -> None:
        """Then the guesses lay in the labels' own folders."""
        batch = Batch(world, tmp_path, "image-folder", dict.fromkeys(world.ids, "cat"))
        held = read_manifest(Location.of(batch.folder), "handoff")
        del held.parameters["suggested_in"]
        write_manifest(Location.of(batch.folder), held)
        images = batch.folder / "images"
        for path in (images / "_suggested" / "cat").iterdir():
            shutil.move(path, images / ("dog" if world.ids[0] in path.name else "cat") / path.name)
        assert batch.take(batch.folder).status.labels == {"dog": 1}
        assert batch.labels == {world.ids[0]: "dog"}

    def test_cvat_marks_what_a_person_set(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "cvat", dict.fromkeys(world.ids, "cat"))
        text = (batch.folder / "annotations.xml").read_text()
        for source in ("auto", "file"):
            carried = tmp_path / f"{source}.xml"
            carried.write_text(text.replace('source="auto"', f'source="{source}"'))
            assert batch.take(carried).status.labelled == 0
        with zipfile.ZipFile(tmp_path / "back.zip", "w") as archive:
            archive.writestr("annotations.xml", text.replace('source="auto"', 'source="manual"'))
        assert batch.take(tmp_path / "back.zip").status.labels == {"cat": 24}

    def test_label_studio_at_one_click_for_all(self, world: Any, tmp_path: Path) -> None:
        """The data manager makes annotations of predictions in bulk; confirming one by one takes time."""
        batch = Batch(world, tmp_path, guesses=dict.fromkeys(world.ids, "cat"))
        a, b, c, d = world.ids[:4]
        said = {
            a: [choice("cat", parent_prediction=7, lead_time=None)],
            b: [choice("cat", parent_prediction=8, lead_time=3.5)],
            c: [choice("dog", parent_prediction=9, lead_time=None)],
            d: [choice("cat", who=None, lead_time=None)],
        }
        report = batch.take(studio(tmp_path / "back.json", said))
        assert batch.labels == {b: "cat", c: "dog"}
        assert report.counts == {"labelled": 2, "unchanged first answer": 2}, "nor does what nobody signed"

    def test_the_file_of_guesses_is_nobodys_answer(self, world: Any, tmp_path: Path) -> None:
        file = table(tmp_path / "guesses.csv", [(id, "cat") for id in world.ids], "sample_id,label")
        batch = Batch(world, tmp_path, "csv", preannotations=read_preannotations(file))
        with pytest.raises(InputError, match="first answers that this hand-off was given"):
            batch.take(file)
        assert batch.take(batch.folder / "tasks.csv").status.labelled == 0
        saved_anew = table(
            tmp_path / "anew.csv",
            [(id, "cat", "0.6", "probe") for id in world.ids],
            "sample_id,label,score,model",
        )
        assert batch.take(saved_anew).counts == {"unchanged first answer": 24}


NAMINGS = [
    [1, {"id": 1}, {"id": 1, "email": "Anna@Example.org"}],
    [{"id": 1, "email": "anna@example.org"}, 1, {"email": "ANNA@example.org"}],
    ["anna@example.org", {"id": 1, "email": "anna@example.org"}, 1],
]


class TestPeople:
    """One person is one annotator, in whatever words a file names him."""

    @pytest.mark.parametrize("naming", NAMINGS)
    def test_id_and_mail_in_one_file(self, world: Any, tmp_path: Path, naming: list[Any]) -> None:
        batch = Batch(world, tmp_path)
        said = {id: [choice("cat", who)] for id, who in zip(world.ids, naming, strict=False)}
        said[world.ids[3]] = [choice("cat", naming[0]), choice("cat", naming[1])]
        status = batch.take(studio(tmp_path / "back.json", said)).status
        assert {
            label.annotator for label in LabelStore.at(batch.labels_folder).resolve().labels.values()
        } == {"anna@example.org"}
        assert status.agreement.samples == 0, "nobody agrees with himself"

    @pytest.mark.parametrize("first", ["table", "json"])
    def test_the_order_of_formats_does_not_matter(self, world: Any, tmp_path: Path, first: str) -> None:
        batch = Batch(world, tmp_path)
        in_table = table(tmp_path / "back.csv", [(id, "cat", "1") for id in world.ids])
        in_json = studio(tmp_path / "back.json", {id: [choice("cat", 1)] for id in world.ids})
        order = [in_table, in_json] if first == "table" else [in_json, in_table]
        batch.take(order[0])
        status = batch.take(order[1], annotators={"1": "Anna"}).status
        assert status.agreement.samples == 0
        found = LabelStore.at(batch.labels_folder).resolve()
        assert {(label.annotator, label.voters) for label in found.labels.values()} == {("Anna", 1)}

    def test_one_annotation_in_two_exports_is_one_persons(self, world: Any, tmp_path: Path) -> None:
        """JSON has the number, the table the mail address, and nobody says that they are one."""
        batch = Batch(world, tmp_path)
        at = "2026-01-02T10:00:00.123456Z"
        said = {id: [choice("cat", 1, at=at, id=row)] for row, id in enumerate(world.ids)}
        batch.take(studio(tmp_path / "back.json", said))
        rows = [(str(row), "anna@example.org", id, "cat", at, "2.5") for row, id in enumerate(world.ids)]
        header = "annotation_id,annotator,sample_id,label,updated_at,lead_time"
        status = batch.take(table(tmp_path / "back.csv", rows, header)).status
        assert status.agreement.samples == 0
        others = [
            (str(row), "ben@example.org", id, "cat", at[:-5] + "Z", "2") for row, id in enumerate(world.ids)
        ]
        status = batch.take(table(tmp_path / "ben.csv", others, header)).status
        assert status.agreement.samples == 24, "another time: another server's annotation of that number"

    def test_assigned_names_in_any_spelling(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv", annotators=["Zoë Müller"])
        spelled = ["zoë müller", " Zoë  Müller ", unicodedata.normalize("NFD", "Zoë Müller")]
        rows = [(id, "cat", spelled[row % 3]) for row, id in enumerate(world.ids)]
        assert batch.take(table(tmp_path / "back.csv", rows)).status.progress == {"Zoë Müller": (24, 24)}

    def test_two_teams_have_a_first_user_each(self, world: Any, tmp_path: Path) -> None:
        here, there = Batch(world, tmp_path / "a"), Batch(world, tmp_path / "b", instructions="again")
        there.labels_folder = here.labels_folder
        here.take(studio(tmp_path / "a.json", {world.ids[0]: [choice("cat", 1)]}), annotators={"1": "anna"})
        there.take(studio(tmp_path / "b.json", {world.ids[0]: [choice("cat", 1)]}), annotators={"1": "ben"})
        assert LabelStore.at(here.labels_folder).resolve().votes == {
            world.ids[0]: {"anna": "cat", "ben": "cat"}
        }

    def test_two_servers_number_their_annotations_alike(self, world: Any, tmp_path: Path) -> None:
        here, there = Batch(world, tmp_path / "a"), Batch(world, tmp_path / "b", instructions="again")
        there.labels_folder = here.labels_folder
        at = "2026-01-02T10:00:00Z"
        here.take(studio(tmp_path / "a.json", {world.ids[0]: [choice("cat", 1, at=at)]}))
        there.take(studio(tmp_path / "b.json", {world.ids[0]: [choice("cat", "ben@example.org", at=at)]}))
        assert len(LabelStore.at(here.labels_folder).resolve().votes[world.ids[0]]) == 2

    def test_a_name_given_wrongly_is_put_right(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path)
        file = studio(tmp_path / "a.json", {world.ids[0]: [choice("cat", {"id": 1, "email": "a@b.org"})]})
        for name in ("anna", "ben"):
            batch.take(file, annotators={"1": name})
        assert LabelStore.at(batch.labels_folder).resolve().votes == {world.ids[0]: {"ben": "cat"}}

    def test_two_annotators_of_one_name_are_refused(self, world: Any, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="Anna and anna are one name"):
            Batch(world, tmp_path, annotators=["Anna", "anna"])


class TestContradictions:
    """Two labels of one person at one moment are a conflict to settle."""

    def test_a_row_twice(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        a, b = world.ids[:2]
        rows = [(a, "cat", "anna"), (b, "cat", "anna"), (a, "dog", "Anna"), (b, "cat", "anna")]
        status = batch.take(table(tmp_path / "back.csv", rows)).status
        assert batch.labels == {b: "cat"}
        assert (status.conflicts, status.contradictions, status.because["in conflict"]) == (1, 1, 1)
        assert batch.reviewed == {a: "conflict: anna gave two labels at once"}

    def test_a_picture_in_two_folders(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "image-folder")
        images = batch.folder / "images"
        a, b = sorted((images / "_unlabelled").iterdir())[:2]
        shutil.copy(a, images / "cat")
        shutil.copy(a, images / "dog" / f"{a.stem} (1){a.suffix}")
        shutil.copy(b, images / "cat")
        assert batch.take(images).status.conflicts == 1
        assert batch.labels == {b.stem: "cat"}, "what also lies in _unlabelled is labelled all the same"

    def test_others_votes_do_not_hide_it_and_a_reviewer_settles_it(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        a = world.ids[0]
        rows = [(a, "cat", "anna"), (a, "dog", "anna"), (a, "cat", "ben"), (a, "cat", "chris")]
        batch.take(table(tmp_path / "back.csv", rows))
        assert batch.labels == {}
        twice = [(a, "cat", "chief"), (a, "dog", "chief")]
        batch.take(table(tmp_path / "twice.csv", twice), final=True)
        assert batch.labels == {}, "a reviewer may not contradict himself either"
        batch.take(table(tmp_path / "review.csv", [(a, "dog", "chief")]), final=True)
        assert batch.labels == {a: "dog"}

    def test_of_two_moments_the_later_counts_and_is_told(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        a = world.ids[0]
        header = "sample_id,label,annotator,created_at"
        rows = [(a, "dog", "anna", "2026-01-02T00:00:00Z"), (a, "cat", "anna", "2026-01-01T00:00:00Z")]
        assert batch.take(table(tmp_path / "1.csv", rows, header)).changed == {}
        assert batch.labels == {a: "dog"}
        rows = [(a, "fox", "anna", "2026-01-03T00:00:00Z")]
        assert batch.take(table(tmp_path / "2.csv", rows, header)).changed == {"anna": 1}
        assert batch.labels == {a: "fox"}

    def test_near_duplicates_with_different_labels_are_shown(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        groups = pq.read_table(batch.folder / "tasks.parquet")
        together = groups.set_column(
            groups.column_names.index("group"), "group", pa.array([0] * 24, pa.int64())
        )
        held = read_manifest(Location.of(batch.folder), "handoff")
        from ecos_core.storage import write_shard

        shard = write_shard(Location.of(batch.folder), "tasks.parquet", together)
        write_manifest(Location.of(batch.folder), held.model_copy(update={"shards": [shard]}))
        a, b = world.ids[:2]
        status = batch.take(table(tmp_path / "back.csv", [(a, "cat", "anna"), (b, "dog", "anna")])).status
        assert status.torn == 1
        assert set(batch.reviewed) == {a, b}


class TestLabelStudio:
    @pytest.mark.parametrize("control", ["choice", "class", "Label"])
    def test_one_question_of_any_name(self, world: Any, tmp_path: Path, control: str) -> None:
        batch = Batch(world, tmp_path)
        said = {id: [choice("fox", control=control)] for id in world.ids}
        assert batch.take(studio(tmp_path / "back.json", said)).status.complete

    def test_several_questions_are_named(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path)
        a = world.ids[0]
        said = {a: [choice("fox", control="animal"), choice("good", control="quality")]}
        file = studio(tmp_path / "back.json", said)
        with pytest.raises(
            InputError, match=r"'animal' \(1 answers\), 'quality' \(1 answers\)\? Name it with --control"
        ):
            batch.take(file)
        batch.take(file, control="animal")
        assert batch.labels == {a: "fox"}

    def test_our_own_question_beside_others(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path)
        both = choice("fox")
        both["result"] += choice("blurred", control="quality")["result"]
        batch.take(studio(tmp_path / "back.json", {world.ids[0]: [both]}))
        assert batch.labels == {world.ids[0]: "fox"}

    def test_boxes_and_taxonomies_have_labels_too(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path)
        a, b = world.ids[:2]
        boxes = choice("fox")
        boxes["result"] = [
            {"from_name": "box", "type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["fox"]}}
        ] * 3
        batch.take(studio(tmp_path / "a.json", {a: [boxes]}))
        path = choice("fox")
        path["result"] = [
            {"from_name": "tree", "type": "taxonomy", "value": {"taxonomy": [["animal", "dog"]]}}
        ]
        batch.take(studio(tmp_path / "b.json", {b: [path]}))
        assert batch.labels == {a: "fox", b: "dog"}

    @pytest.mark.parametrize(
        "image",
        [
            "/data/upload/1/ab12cd34-{id}.png", "/data/upload/7/ab12cd34-{id}", "s3://bucket/a%20b/{id}.jpg",
            "/data/local-files/?d=x%5C{id}.jpg", "C:\\batch\\images\\{id} - Copy.jpg", "{ID}.JPG",
        ],
    )  # fmt: skip
    def test_uploaded_images_are_known_by_their_names(self, world: Any, tmp_path: Path, image: str) -> None:
        batch = Batch(world, tmp_path)
        tasks = [
            {"id": 1, "data": {"image": image.format(id=id, ID=id.upper())}, "annotations": [choice("fox")]}
            for id in world.ids
        ]
        (tmp_path / "back.json").write_text(json.dumps(tasks))
        assert batch.take(tmp_path / "back.json").status.complete

    def test_a_broken_entry_costs_itself_only(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path)
        a, b, c = world.ids[:3]
        good = json.loads(studio(tmp_path / "x.json", {a: [choice("fox")]}).read_text())
        broken = [
            {"id": 2, "data": {"sample_id": b}, "annotations": [{"id": 3, "result": [{"type": "choices"}]}]},
            {"id": 3, "data": None, "annotations": [choice("fox")]},
            {"id": 4, "annotations": "none"}, {"id": 5}, "text", None,
            {"id": 6, "data": {"sample_id": c}, "annotations": [None, 7]},
        ]  # fmt: skip
        (tmp_path / "back.json").write_text(json.dumps(good + broken))
        report = batch.take(tmp_path / "back.json")
        assert batch.labels == {a: "fox"}
        assert report.counts["unreadable entry"] >= 1

    def test_skipped_several_and_untouched_are_told(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path)
        a, b, c = world.ids[:3]
        said = {a: [choice(["cat", "dog"])], b: [choice("cat", was_cancelled=True)], c: []}
        report = batch.take(studio(tmp_path / "back.json", said))
        assert report.counts == {"several labels": 1, "cancelled": 1, "empty": 1}
        assert report.status.because == {"not back yet": 21, "several labels": 1, "cancelled": 1, "empty": 1}
        assert batch.reviewed == {a: "several labels: cat, dog"}

    @pytest.mark.parametrize("suffix", ["json", "csv", "tsv"])
    def test_short_exports(self, world: Any, tmp_path: Path, suffix: str) -> None:
        """JSON_MIN, CSV and TSV, from a project whose question has Label Studio's own name."""
        batch = Batch(world, tmp_path)
        columns = [
            "annotation_id",
            "annotator",
            "choice",
            "created_at",
            "id",
            "image",
            "lead_time",
            "sample_id",
            "why",
        ]
        rows: list[dict[str, Any]] = [
            dict(zip(columns, (row, 1, "fox", "2026-01-01T00:00:00Z", row, "x", 1.5, id, "x"), strict=True))
            for row, id in enumerate(world.ids)
        ]
        rows[0]["choice"] = {"choices": ["cat", "dog"]}
        where = tmp_path / f"back.{suffix}"
        if suffix == "json":
            where.write_text(json.dumps(rows))
        else:
            rows[0]["choice"] = json.dumps(rows[0]["choice"])
            with where.open("w", newline="") as file:
                writer = csv.DictWriter(file, columns, delimiter="\t" if suffix == "tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
        report = batch.take(where)
        assert report.counts == {"labelled": 23, "several labels": 1}
        assert {
            label.annotator for label in LabelStore.at(batch.labels_folder).resolve().labels.values()
        } == {"user 1"}


class TestCoco:
    @pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 2, 3), (90, 97, 104), ("1", "2", "3"), (0, 7, 7.5)])
    def test_categories_count_by_name(self, world: Any, tmp_path: Path, numbers: tuple[Any, ...]) -> None:
        batch = Batch(world, tmp_path, "coco")
        categories = [{"id": number, "name": label} for number, label in zip(numbers, LABELS, strict=True)]
        file = coco(batch, tmp_path / "back.json", {})
        found = json.loads(file.read_text())
        found["categories"] = categories
        found["annotations"] = [{"id": 1, "image_id": 1, "category_id": numbers[1]}]
        file.write_text(json.dumps(found))
        batch.take(file)
        assert list(batch.labels.values()) == ["dog"]

    def test_other_systems_paths_and_texts_as_numbers(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "coco")
        names = ["images\\{}.jpg", "C:\\Users\\me\\{}.jpg", "1/0badcafe-{}.jpg", "http://x/?d=a/{}.jpg"]
        images = [
            {"id": str(row), "file_name": names[row % 4].format(id)} for row, id in enumerate(world.ids)
        ]
        annotations = [{"image_id": row, "category_id": 1} for row in range(24)]
        file = coco(batch, tmp_path / "back.json", {}, images=images, annotations=annotations)
        assert batch.take(file).status.complete

    def test_what_leads_nowhere_costs_itself_only(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "coco")
        file = coco(batch, tmp_path / "back.json", dict.fromkeys(world.ids[:5], "cat"))
        found = json.loads(file.read_text())
        found["annotations"] += [
            {"id": 90, "image_id": 777, "category_id": 1}, {"id": 91, "image_id": 7, "category_id": 55}, {"id": 92},
            None, {"id": 93, "image_id": None, "category_id": None},
        ]  # fmt: skip
        found["images"].append({"id": 400})
        file.write_text(json.dumps(found))
        report = batch.take(file)
        assert report.status.labels == {"cat": 5}
        assert report.unknown_labels == ("category 55",)
        assert report.counts["unreadable entry"] == 3

    def test_no_annotations_at_all(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "coco")
        assert batch.take(coco(batch, tmp_path / "back.json", {}, annotations=None)).counts == {"empty": 24}


class TestTables:
    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace(",", ";").encode("utf-8-sig"),
            lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode(),
            lambda text: text.replace(",", "\t").encode("utf-16"),
            lambda text: text.replace(",", "|").encode("utf-16-be").join((b"\xfe\xff", b"")),
            lambda text: text.replace("sample_id,label", "SAMPLE_ID, Label ").encode(),
            lambda text: (text + ",,\r\n" * 9).encode(),
            lambda text: text.upper().replace("CAT", "cat\u00a0").encode(),
        ],
    )
    @pytest.mark.parametrize("name", ["back.csv", "BACK.CSV", "back.tsv", "back.txt"])
    def test_as_spreadsheets_save_them(self, world: Any, tmp_path: Path, change: Any, name: str) -> None:
        batch = Batch(world, tmp_path, "csv")
        text = "sample_id,label,annotator\r\n" + "".join(f"{id},cat,anna\r\n" for id in world.ids)
        (tmp_path / name).write_bytes(change(text))
        report = batch.take(tmp_path / name)
        assert report.status.complete and report.counts == {"labelled": 24}

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"PK\x03\x04" + bytes(90), "a workbook"),
            ("sample_id,label\nx,caf\u00e9".encode("cp1252"), "not UTF-8, most likely Windows-1252"),
            (b"label\ncat\n", "sample_id missing"),
            (b"sample_id,label,Label\nx,cat,dog\n", "column label twice"),
            (b"", "label, sample_id missing"),
        ],
    )
    def test_what_cannot_be_read_is_one_line(
        self, world: Any, tmp_path: Path, data: bytes, said: str
    ) -> None:
        batch = Batch(world, tmp_path, "csv")
        (tmp_path / "back.csv").write_bytes(data)
        with pytest.raises(InputError, match=said) as refused:
            batch.take(tmp_path / "back.csv")
        assert "\n" not in str(refused.value)

    def test_ids_that_a_spreadsheet_cut_are_known_by_the_image(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        rows = [(id[:12], f"images/{id}.png", "cat") for id in world.ids]
        assert batch.take(table(tmp_path / "back.csv", rows, "sample_id,image,label")).status.complete

    def test_cells_of_a_parquet_file(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "parquet", label_set=["0", "1", "cat"])
        cells: list[tuple[Any, pa.DataType]] = [
            ([["cat"]] * 24, pa.list_(pa.string())),
            ([float("nan")] * 12 + [1.0] * 12, pa.float64()),
            (["NA", "-1", ""] * 4 + ["1.0"] * 12, pa.string()),
            ([1] * 24, pa.int64()),
            (pa.array(["cat"] * 24).dictionary_encode(), None),
        ]
        counts = []
        for number, (values, type) in enumerate(cells):
            column = values if type is None else pa.array(values, type)
            pq.write_table(
                pa.table({"sample_id": world.ids, "label": column}), tmp_path / f"{number}.parquet"
            )
            counts.append(batch.take(tmp_path / f"{number}.parquet").counts)
        assert counts == [
            {"labelled": 24},
            {"labelled": 12, "empty": 12},
            {"labelled": 12, "empty": 12},
            {"labelled": 24},
            {"labelled": 24},
        ]


class TestNames:
    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_what_looks_the_same_is_the_same(self, world: Any, tmp_path: Path, form: Any) -> None:
        spelled = [unicodedata.normalize(form, name) for name in ("café", "thé", "a/b", "_unlabelled", ".x")]
        batch = Batch(world, tmp_path, "image-folder", label_set=spelled)
        images = batch.folder / "images"
        back = tmp_path / "back"
        other = "NFD" if form == "NFC" else "NFC"
        folders = sorted(path.name for path in images.iterdir() if path.name != "_unlabelled")
        for number, path in enumerate(sorted((images / "_unlabelled").iterdir())):
            target = back / unicodedata.normalize(other, folders[number % len(folders)])
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        (back / ".DS_Store").write_bytes(b"x")
        (back / "__MACOSX").mkdir()
        (back / "__MACOSX" / "._x.jpg").write_bytes(b"x")
        report = batch.take(back)
        assert report.status.complete
        assert set(report.status.labels) == {"café", "thé", "a/b", "_unlabelled", ".x"}

    def test_a_line_separator_inside_a_name_is_a_space(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv", label_set=["big\u2028cat", "dog\u200b", "fox\x85"])
        rows = [
            (id, label, "anna") for id, label in zip(world.ids, ["big cat", "dog", "fox"] * 8, strict=True)
        ]
        assert batch.take(table(tmp_path / "back.csv", rows)).status.complete

    def test_a_label_outside_the_set_comes_with_what_was_meant(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        rows = [(id, label, "anna") for id, label in zip(world.ids, ["Cat", "dgo", "zebra"], strict=False)]
        report = batch.take(table(tmp_path / "back.csv", rows))
        assert report.unknown_labels == ("Cat", "dgo", "zebra")
        assert report.meant == {"Cat": "cat", "dgo": "dog"}
        assert report.status.because == {"not back yet": 21, "outside the label set": 3}

    @pytest.mark.parametrize("names", [["cat", "cat "], ["caf\u00e9", "cafe\u0301"], ["cat", " "], ["cat"]])
    def test_label_sets_that_cannot_be(self, world: Any, tmp_path: Path, names: list[str]) -> None:
        with pytest.raises(InputError, match="label set"):
            Batch(world, tmp_path, label_set=names)


class TestBatches:
    def test_labels_of_before_still_open(self, world: Any, tmp_path: Path) -> None:
        """Imports that do not say which hand-off they answer, and nobody's names."""
        batch = Batch(world, tmp_path, "csv")
        batch.take(table(tmp_path / "1.csv", [(id, "cat", "user 1") for id in world.ids]))
        where = Location.of(batch.labels_folder)
        held = read_manifest(where, "labels")
        del held.parameters["people"]
        for record in held.summary["imports"]:
            del record["handoff"]
        write_manifest(where, held)
        assert len(batch.labels) == 24
        status = batch.take(table(tmp_path / "2.csv", [(id, "cat", "1") for id in world.ids])).status
        assert status.complete and status.agreement.samples == 0

    @pytest.mark.parametrize(
        ("name", "said"), [("back", "no pictures here"), ("back.zip", "or unpack what else it is")]
    )
    def test_a_folder_of_nothing_and_an_archive_of_folders(
        self, world: Any, tmp_path: Path, name: str, said: str
    ) -> None:
        batch = Batch(world, tmp_path, "image-folder")
        (tmp_path / "back" / "cat").mkdir(parents=True)
        with zipfile.ZipFile(tmp_path / "back.zip", "w") as archive:
            archive.writestr(f"cat/{world.ids[0]}.jpg", b"x")
        with pytest.raises(InputError, match=said):
            batch.take(tmp_path / name)

    def test_another_batchs_file_is_refused_and_not_lost(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv")
        with pytest.raises(InputError, match="not one of its 2 entries is of this hand-off"):
            batch.take(table(tmp_path / "other.csv", [("f" * 64, "cat", "anna"), ("e" * 64, "cat", "anna")]))
        stray = table(tmp_path / "stray.csv", [("f" * 64, "cat", "anna"), (world.ids[0], "cat", "anna")])
        assert batch.take(stray).unknown_samples == 1
        assert batch.labels == {world.ids[0]: "cat"}

    def test_the_same_file_for_two_hand_offs_counts_for_both(self, world: Any, tmp_path: Path) -> None:
        first, second = (
            Batch(world, tmp_path / "a", "csv"),
            Batch(world, tmp_path / "b", "csv", instructions="again"),
        )
        second.labels_folder = first.labels_folder
        file = table(tmp_path / "back.csv", [(world.ids[0], "cat", "anna")])
        assert not first.take(file).repeated
        assert not second.take(file).repeated
        assert second.take(file).repeated

    def test_returned_twice_and_in_parts_by_two_people_in_one_file(self, world: Any, tmp_path: Path) -> None:
        batch = Batch(world, tmp_path, "csv", annotators=["anna", "ben"], overlap=1.0)
        rows = [(id, "cat", who) for id in world.ids[:6] for who in ("anna", "ben")]
        file = table(tmp_path / "1.csv", rows)
        assert batch.take(file).status.progress == {"anna": (6, 24), "ben": (6, 24)}
        again = batch.take(file)
        assert again.repeated and again.status.labels == {"cat": 6}
        more = [(id, "cat", who) for id in world.ids for who in ("anna", "ben")]
        status = batch.take(table(tmp_path / "2.csv", more)).status
        assert status.complete and status.progress == {"anna": (24, 24), "ben": (24, 24)}
        assert status.agreement.samples == 24
