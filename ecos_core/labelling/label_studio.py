"""Label Studio: tasks and the page to label them out, its JSON export back in.

Formats: https://labelstud.io/guide/tasks (import) and https://labelstud.io/guide/export (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Answer, Status
from ecos_core.labelling.tasks import Task

CONTROL, OBJECT = "label", "image"
LOCAL_FILES = "/data/local-files/?d="


def label_config(label_set: Sequence[str], instructions: str = "") -> str:
    """The labelling page as Label Studio's XML: one choice among the labels, and why the image is here."""
    view = ElementTree.Element("View")
    if instructions:
        ElementTree.SubElement(view, "Header", value=instructions, size="5")
    ElementTree.SubElement(view, "Image", name=OBJECT, value="$image", zoom="true")
    choices = ElementTree.SubElement(
        view, "Choices", name=CONTROL, toName=OBJECT, choice="single", showInLine="true"
    )
    for label in label_set:
        ElementTree.SubElement(choices, "Choice", value=label)
    ElementTree.SubElement(view, "Text", name="why", value="$why")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def task_json(task: Task, image: str) -> dict[str, Any]:
    """One task of Label Studio's import format; ``image`` is the address its server or the browser loads."""
    data: dict[str, Any] = {
        "image": image,
        "sample_id": task.sample_id,
        "why": task.why,
        "group": task.group,
        "cluster": task.cluster,
        "order": task.order,
        "licence": task.licence or "unknown",
    }
    if task.attribution:
        data["attribution"] = task.attribution
    if task.annotators:
        data["annotators"] = list(task.annotators)
    found: dict[str, Any] = {"data": data}
    if (guess := task.preannotation) is not None:
        region = {
            "from_name": CONTROL,
            "to_name": OBJECT,
            "type": "choices",
            "value": {"choices": [guess.label]},
        }
        prediction: dict[str, Any] = {"model_version": guess.model, "result": [region]}
        if guess.score is not None:
            prediction["score"] = guess.score
        found["predictions"] = [prediction]
    return found


def local_file(folder: str, task: Task) -> str:
    """The address of an image under Label Studio's document root, see
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""
    return f"{LOCAL_FILES}{quote(folder)}/images/{task.file_name}"


def write_tasks(where: Path, tasks: Iterable[dict[str, Any]]) -> None:
    """A JSON list, written task by task."""
    with where.open("w", encoding="utf-8") as file:
        file.write("[")
        for place, task in enumerate(tasks):
            file.write(("" if place == 0 else ",") + "\n" + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")


def read_export(where: Path, annotators: Mapping[str, str]) -> Iterator[Answer]:
    """Every annotation of a JSON export, and one empty answer for a task that nobody touched.

    Args:
        where: what ``GET /api/projects/ID/export?exportType=JSON`` or the Export button gave.
        annotators: Label Studio's user id or e-mail address -> the name to record.

    Raises InputError when the file is not such an export.
    """
    try:
        tasks = json.loads(where.read_bytes())
        if not isinstance(tasks, list):
            raise TypeError
        for task in tasks:
            yield from _answers(task, annotators)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: not Label Studio's JSON export; export the project as 'JSON' (not JSON-MIN or CSV) "
            "or name the --format"
        ) from error


def _answers(task: dict[str, Any], names: Mapping[str, str]) -> Iterator[Answer]:
    sample_id = str(task["data"].get("sample_id") or f"task {task['id']}")
    annotations = task["annotations"]
    if not annotations:
        yield Answer(sample_id, None, "", Status.EMPTY, reference=f"task {task['id']}")
    for annotation in annotations:
        who = _annotator(annotation.get("completed_by"), names)
        when = annotation.get("updated_at") or annotation.get("created_at")
        reference = f"annotation {annotation['id']}"
        if annotation.get("was_cancelled"):
            yield Answer(sample_id, None, who, Status.CANCELLED, when, reference)
            continue
        labels = [
            str(choice)
            for region in annotation["result"]
            if region.get("type") == "choices" and region.get("from_name", CONTROL) == CONTROL
            for choice in region["value"]["choices"]
        ]
        yield Answer.of_labels(sample_id, labels, who, when, reference)


def _annotator(who: Any, names: Mapping[str, str]) -> str:
    """A user is an id in some versions' exports, an object with an id and an e-mail address in others."""
    known = (
        [str(who[key]) for key in ("email", "id") if who.get(key)] if isinstance(who, dict) else [str(who)]
    )
    for name in known:
        if name in names:
            return names[name]
    return known[0] if "@" in known[0] else f"user {known[0]}"
