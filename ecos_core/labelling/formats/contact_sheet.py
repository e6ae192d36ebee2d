"""A page with every image of a table, numbered by its line there; labels can be given on it as well."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from ecos_core.labelling.tasks import Task

# Up to so many images the page holds them itself and can be sent on its own; past it, it shows the files beside it.
SELF_CONTAINED = 400
_SIDE = 280


def write_contact_sheet(
    where: Path, tasks: Sequence[Task], lines: Sequence[int], label_set: Sequence[str], instructions: str
) -> None:
    """``lines``: each task's first line in the table of the same name, whose images lie in ``images`` beside it.

    Without a network and without a server: the labels clicked on it are saved by the browser as a table to take back.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    own = len(tasks) <= SELF_CONTAINED
    cards = [
        {
            "line": line,
            "id": task.sample_id,
            "image": _embedded(where.parent / "images" / task.file_name)
            if own
            else f"images/{task.file_name}",
            "why": task.why,
            "group": task.group,
            "suggested": task.preannotation.label if task.preannotation else None,
            "licence": task.licence,
            "attribution": task.attribution,
            "annotators": task.annotators,
        }
        for task, line in zip(tasks, lines, strict=True)
    ]
    loader = PackageLoader("ecos_core.labelling.formats", ".")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "contact_sheet.html.j2"
    )
    text = page.render(cards=cards, labels=label_set, instructions=instructions, table=f"{where.stem}.csv")
    where.write_text(text, encoding="utf-8")


def _embedded(image: Path) -> str:
    """A small copy of the picture as a data address; what cannot be decoded is shown from its file."""
    from PIL import Image, ImageOps

    try:
        with Image.open(image) as opened:
            small = ImageOps.exif_transpose(opened).convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=85)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return f"images/{image.name}"
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
