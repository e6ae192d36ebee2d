"""CVAT's XML with one tag an image ("CVAT for images 1.1"), out and back in.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned

FILE, LABELS_FILE = "annotations.xml", "labels.json"


def write(out: Outgoing) -> None:
    """The labels for CVAT's raw constructor, and an annotation file whose tags are the first answers."""
    labels = [{"name": label, "type": "tag", "attributes": []} for label in out.label_set]
    (out.folder / LABELS_FILE).write_text(json.dumps(labels, ensure_ascii=False, indent=1), encoding="utf-8")
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(out.tasks))
    known = ElementTree.SubElement(task, "labels")
    for label in out.label_set:
        entry = ElementTree.SubElement(known, "label")
        ElementTree.SubElement(entry, "name").text = label
        ElementTree.SubElement(entry, "type").text = "tag"
        ElementTree.SubElement(entry, "attributes")
    for number, shown in enumerate(out.tasks):
        width, height = out.sizes[shown.sample_id]
        image = ElementTree.SubElement(
            root, "image", id=str(number), name=shown.file_name, width=str(width), height=str(height)
        )
        if (guess := shown.preannotation) is not None:
            ElementTree.SubElement(image, "tag", label=guess.label, source="auto")
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(out.folder / FILE, encoding="utf-8", xml_declaration=True)


def read(returned: Returned) -> Iterator[Said]:
    """An image's tags, or the labels of its shapes; one with neither has no answer.

    CVAT marks what a person set as ``source="manual"``; anything else may be a first answer carried through. The
    annotator is the one that the job or the task was assigned to.
    """
    root = _root(returned.where)
    who = _assignee(root)
    for image in root.iter("image"):
        name = image.get("name") or f"image {image.get('id')}"
        marks = [mark for mark in image if mark.get("label")]
        manual = [str(mark.get("label")) for mark in marks if mark.get("source") == "manual"]
        other = [str(mark.get("label")) for mark in marks if mark.get("source") != "manual"]
        shown = returned.given.suggested.get(returned.given.sample_of(name) or "")
        by_person = [*manual, *(label for label in other if label != shown)]
        yield Said(
            name,
            tuple(by_person or other),
            who,
            by_person=bool(by_person),
            reference=f"image {image.get('id')}",
        )


def _root(where: Path) -> ElementTree.Element:
    """The annotations of an XML file, or of the archive that CVAT's export is."""
    try:
        data = where.read_bytes()
        if zipfile.is_zipfile(where):
            with zipfile.ZipFile(where) as archive:
                data = archive.read(FILE)
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{where}: holds no {FILE} of CVAT; export the task as 'CVAT for images 1.1', or unpack what else it is"
        ) from error
    if root.tag != "annotations" or root.find(".//track") is not None:
        raise InputError(
            f"{where}: not CVAT's annotations of images; export the task as 'CVAT for images 1.1'"
        )
    return root


def _assignee(root: ElementTree.Element) -> tuple[str, ...]:
    for holder in root.iterfind("./meta/*/assignee"):
        found = [holder.findtext(name) for name in ("username", "email")]
        if names := tuple(name for name in found if name):
            return names
    return ()


CVAT = LabelFormat(
    "cvat",
    write,
    read,
    """\
1. Make a task in CVAT: under Labels, Raw, paste `labels.json`; select the files in `images`.
2. For the first answers, if there are any: Menu, Upload annotations, "CVAT 1.1", `annotations.xml`.
3. Give each image one tag (mode "Tag annotation" has keys for them). A first answer that is right: delete it and set it
   again, or whoever takes the labels back says that every one was looked at (`--confirmed`).
4. Menu, Export task dataset, "CVAT for images 1.1", without images. The archive is what comes back.""",
)
