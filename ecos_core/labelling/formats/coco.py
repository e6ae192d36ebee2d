"""COCO's JSON, as FiftyOne, CVAT and others read it: every label is an annotation of the whole image.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned


def write(out: Outgoing) -> None:
    """One image a task, its file name under ``images``; first answers are annotations that no annotator signed."""
    categories = {label: number for number, label in enumerate(out.label_set, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, task in enumerate(out.tasks, start=1):
        width, height = out.sizes[task.sample_id]
        images.append(
            {
                "id": number, "file_name": f"images/{task.file_name}", "width": width, "height": height,
                "sample_id": task.sample_id, "why": task.why, "group": task.group,
                "annotators": list(task.annotators), "licence": task.licence,
            }
        )  # fmt: skip
        if (guess := task.preannotation) is not None:
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": categories[guess.label],
                    "bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0, "segmentation": [],
                    "suggested_by": guess.model, **({} if guess.score is None else {"score": guess.score}),
                }
            )  # fmt: skip
    named = [{"id": number, "name": label, "supercategory": ""} for label, number in categories.items()]
    found = {"images": images, "categories": named, "annotations": annotations}
    (out.folder / "tasks.json").write_text(json.dumps(found), encoding="utf-8")


def read(returned: Returned) -> Iterator[Said]:
    """An image's categories by name, whatever their numbers; one without an annotation has no answer.

    An annotation is a person's where ``annotator`` signs it. An entry that leads nowhere costs itself only.
    """
    found = _parsed(returned)
    names = {_id(row.get("id")): str(row["name"]) for row in _objects(found["categories"]) if "name" in row}
    images = {_id(row.get("id")): row for row in _objects(found["images"])}
    given: dict[tuple[str, str], list[str]] = {}
    for annotation in _objects(found["annotations"]):
        image, category = _id(annotation.get("image_id")), _id(annotation.get("category_id"))
        if image not in images:
            yield Said(
                "", reference=f"annotation {annotation.get('id')}", trouble=f"there is no image {image}"
            )
            continue
        who = str(annotation.get("annotator") or "")
        given.setdefault((image, who), []).append(names.get(category, f"category {category}"))
    for (image, who), labels in given.items():
        yield Said(
            _sample(images[image]),
            tuple(labels),
            (who,) if who else (),
            by_person=bool(who),
            reference=f"image {image}",
        )
    touched = {image for image, _ in given}
    for image in images.keys() - touched:
        yield Said(_sample(images[image]), reference=f"image {image}")


def _parsed(returned: Returned) -> dict[str, Any]:
    try:
        found = json.loads(returned.where.read_bytes())
    except ValueError as error:
        raise InputError(f"{returned.where}: not a COCO file, nor JSON at all ({error})") from error
    if not isinstance(found, dict) or not {"images", "categories", "annotations"} <= found.keys():
        raise InputError(f"{returned.where}: not a COCO file (images, categories and annotations are needed)")
    return found


def _objects(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _id(value: Any) -> str:
    """Ids compare as text: some tools write 7 here and "7" there."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _sample(image: dict[str, Any]) -> str:
    return str(image.get("sample_id") or image.get("file_name") or f"image {image.get('id')}")


COCO = LabelFormat(
    "coco",
    write,
    read,
    """\
Load `tasks.json` and the folder `images` into your tool. Give each image one category; any box will do, the category
counts. A first answer that comes back as it was counts only where its annotation has an `annotator`, or where whoever
takes the labels back says that every one was looked at (`--confirmed`).""",
)
