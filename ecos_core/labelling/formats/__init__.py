"""The formats that tasks go out in and answers come back in; a new one is a module here and a line below."""

from __future__ import annotations

import json
from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned
from ecos_core.labelling.formats.coco import COCO
from ecos_core.labelling.formats.cvat import CVAT
from ecos_core.labelling.formats.image_folder import IMAGE_FOLDER
from ecos_core.labelling.formats.label_studio import LABEL_STUDIO
from ecos_core.labelling.formats.parquet import PARQUET
from ecos_core.labelling.formats.spreadsheet import CSV

BY_NAME = {kind.name: kind for kind in (LABEL_STUDIO, COCO, CVAT, CSV, PARQUET, IMAGE_FOLDER)}
FORMATS: tuple[str, ...] = tuple(BY_NAME)
_BY_SUFFIX = {
    ".csv": CSV,
    ".tsv": CSV,
    ".txt": CSV,
    ".xlsx": CSV,
    ".parquet": PARQUET,
    ".xml": CVAT,
    ".zip": CVAT,
}


def format_named(name: str) -> LabelFormat:
    """Raises InputError that lists what there is."""
    if name not in BY_NAME:
        raise InputError(f"format '{name}': choose one of {', '.join(FORMATS)}")
    return BY_NAME[name]


def format_of(where: Path, expected: str) -> LabelFormat:
    """The format of something that came back: told by its name and, for JSON, by its outline, else the expected one."""
    if where.is_dir():
        return IMAGE_FOLDER
    suffix = where.suffix.casefold()
    if suffix == ".json":
        try:
            found = json.loads(where.read_bytes())
        except ValueError:
            return format_named(expected)
        if isinstance(found, dict) and {"images", "annotations"} <= found.keys():
            return COCO
        return LABEL_STUDIO if isinstance(found, list) else format_named(expected)
    return _BY_SUFFIX.get(suffix) or format_named(expected)


__all__ = ["BY_NAME", "FORMATS", "LabelFormat", "Outgoing", "Returned", "format_named", "format_of"]
