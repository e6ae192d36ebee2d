"""Label Studio: tasks and the page to label them out, its JSON exports back in.

Formats: https://labelstud.io/guide/tasks (import) and https://labelstud.io/guide/export (JSON and JSON_MIN).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned
from ecos_core.labelling.formats.rows import label_column, said_in
from ecos_core.labelling.tasks import Task

CONTROL, OBJECT = "label", "image"
CONFIG_FILE = "label_config.xml"
LOCAL_FILES = "/data/local-files/?d="
# Keys for the labels in order; a label that is one character is its own key.
KEYS = "1234567890qwertyuiopasdfghjklzxcvbnm"
# What choices and image may take of a screen's height together; many choices leave the image less.
_IMAGE_HEIGHT, _IMAGE_BESIDE_MANY, _MANY = "60vh", "45vh", 20


def label_config(label_set: Sequence[str], instructions: str = "") -> str:
    """The labelling page as Label Studio's XML: one choice among the labels above the image, so that no image pushes
    them out of sight, and why the image is here."""
    view = ElementTree.Element("View")
    if instructions:
        ElementTree.SubElement(view, "Header", value=instructions, size="5")
    choices = ElementTree.SubElement(
        view, "Choices", name=CONTROL, toName=OBJECT, choice="single", showInLine="true"
    )
    for label, key in zip(label_set, hotkeys(label_set), strict=True):
        choice = ElementTree.SubElement(choices, "Choice", value=label)
        if key:
            choice.set("hotkey", key)
    height = _IMAGE_BESIDE_MANY if len(label_set) > _MANY else _IMAGE_HEIGHT
    ElementTree.SubElement(view, "Image", name=OBJECT, value="$image", zoom="true", maxHeight=height)
    ElementTree.SubElement(view, "Text", name="why", value="$why")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def hotkeys(label_set: Sequence[str]) -> list[str | None]:
    """A key for each label: itself where it is one key, else the next free one; None once all are taken."""
    own = {label.casefold() for label in label_set if len(label) == 1 and label.casefold() in KEYS}
    free = iter([key for key in KEYS if key not in own])
    taken: set[str] = set()
    keys: list[str | None] = []
    for label in label_set:
        key = label.casefold()
        keys.append(key if key in own and key not in taken else next(free, None))
        taken.add(key)
    return keys


def write(out: Outgoing) -> None:
    """The page, and a task file for all and for each annotator."""
    (out.folder / CONFIG_FILE).write_text(label_config(out.label_set, out.instructions), encoding="utf-8")
    for name, part in out.batches():
        addresses = (
            f"{out.image_url.rstrip('/')}/{task.file_name}"
            if out.image_url
            else local_file(out.folder.name, task)
            for task in part
        )
        _write_tasks(
            out.folder / f"{name}.json",
            (task_json(task, address) for task, address in zip(part, addresses, strict=True)),
        )


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


def _write_tasks(where: Path, tasks: Iterable[dict[str, Any]]) -> None:
    """A JSON list, written task by task."""
    with where.open("w", encoding="utf-8") as file:
        file.write("[")
        for place, task in enumerate(tasks):
            file.write(("" if place == 0 else ",") + "\n" + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")


def read(returned: Returned) -> Iterator[Said]:
    """Every annotation of a JSON or JSON_MIN export, and one empty entry for a task that nobody touched.

    Raises InputError when the file is not such an export, or asked several questions of which none is ours.
    """
    tasks = _tasks(returned.where)
    if not any(_annotations(task) is not None for task in tasks):
        yield from _short(returned, tasks)
        return
    control = _control(returned, tasks)
    for number, task in enumerate(tasks):
        name = f"task {task.get('id', number)}"
        try:
            yield from _said(task, name, control)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            yield Said(
                _sample(task) or name, reference=name, trouble=f"not as Label Studio writes it ({error!r})"
            )


def _tasks(where: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(where.read_bytes())
    except ValueError:
        found = None
    tasks = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    if not tasks and found != []:
        raise InputError(
            f"{where}: not Label Studio's JSON export; export the project as 'JSON', or name the --format"
        )
    return tasks


def _annotations(task: dict[str, Any]) -> Any:
    """``completions`` is what versions before 1.0 called them."""
    return task.get("annotations", task.get("completions"))


def _short(returned: Returned, rows: list[dict[str, Any]]) -> Iterator[Said]:
    """JSON_MIN: a row an annotation, with the task's columns and each question's answer."""
    columns = {name.casefold() for row in rows for name in row}
    if rows and not columns & {"annotation_id", "annotator"}:
        raise InputError(
            f"{returned.where}: not Label Studio's JSON export; export the project as 'JSON', or name the --format"
        )
    if rows:
        label = label_column(returned.where, columns, returned.control)
        named = ((f"annotation {row.get('annotation_id')}", row) for row in rows)
        yield from said_in(named, label, returned.given.sample_of)


def _control(returned: Returned, tasks: list[dict[str, Any]]) -> str | None:
    """The question that holds the label: ours, else the only one that was asked. None where nothing was answered."""
    asked: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for task in tasks:
        for annotation in _annotations(task) or []:
            for region in annotation.get("result") or [] if isinstance(annotation, dict) else []:
                if isinstance(region, dict) and _given(region):
                    asked[region.get("type") == "choices"][str(region.get("from_name", CONTROL))] += 1
    names = asked[True] or asked[False]
    wanted = returned.control or CONTROL
    if wanted in asked[True] or wanted in asked[False]:
        return wanted
    if len(names) > 1 or (returned.control and names):
        listed = ", ".join(f"'{name}' ({count:,} answers)" for name, count in names.most_common())
        raise InputError(
            f"{returned.where}: which question holds the label: {listed}? Name it with --control"
        )
    return next(iter(names), None)


def _given(region: dict[str, Any]) -> list[str]:
    """The labels of one region: of a choice, of a box or any other shape, or the last step of a taxonomy's path."""
    kind = str(region.get("type"))
    if kind not in ("choices", "taxonomy") and not kind.endswith("labels"):
        return []
    return [
        str(label[-1] if isinstance(label, list) else label)
        for label in (region.get("value") or {}).get(kind) or []
    ]


def _said(task: dict[str, Any], name: str, control: str | None) -> Iterator[Said]:
    sample = _sample(task) or name
    annotations = _annotations(task) or []
    if not annotations:
        yield Said(sample, reference=name)
    for annotation in annotations:
        who = _who(annotation.get("completed_by"))
        regions = [
            region
            for region in annotation.get("result") or []
            if str(region.get("from_name", CONTROL)) == control
        ]
        labels = [label for region in regions for label in _given(region)]
        yield Said(
            sample,
            tuple(labels),
            who,
            by_person=bool(who) and not _taken_over(annotation),
            skipped=bool(annotation.get("was_cancelled")),
            created_at=annotation.get("updated_at") or annotation.get("created_at"),
            reference=f"annotation {annotation.get('id')}",
        )


def _taken_over(annotation: dict[str, Any]) -> bool:
    """Whether the annotation was made from a prediction by the data manager, for many tasks at one click: such a one
    has a prediction as its parent and took nobody any time."""
    return bool(annotation.get("parent_prediction")) and not annotation.get("lead_time")


def _sample(task: dict[str, Any]) -> str | None:
    """The id that went out with the task; where images were uploaded instead, the image's name holds it."""
    data = task.get("data")
    if not isinstance(data, dict):
        data = {}
    found = data.get("sample_id") or data.get(OBJECT) or task.get("file_upload")
    return (
        str(found) if found else next((str(value) for value in data.values() if isinstance(value, str)), None)
    )


def _who(user: Any) -> tuple[str, ...]:
    """A user is an id in some versions' exports, an object with an id and an e-mail address in others."""
    if isinstance(user, dict):
        return tuple(str(user[key]) for key in ("email", "username", "id") if user.get(key) not in (None, ""))
    return () if user in (None, "") else (str(user),)


LABEL_STUDIO = LabelFormat(
    "label-studio",
    write,
    read,
    """\
On a server that runs already, `ecos handoff push {folder} --url ADDRESS --token-file FILE` makes the project and
`ecos handoff pull {folder} --token-file FILE --labels LABELS` brings the labels back. By hand:

1. Start Label Studio with `LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true` and with the folder that holds this
   one as `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`.
2. Make a project; paste `label_config.xml` into its labelling setup; under Cloud Storage add "Local files"
   with this folder's absolute path, `{folder}` (a relative one is refused), and do not sync it.
3. Import `tasks.json`, or only a person's `tasks-NAME.json`.
4. Label: the key of each label stands beside it. Then Export, format JSON.""",
)
