"""What the data owner agreed to: the graph that stands behind a fingerprint, recorded once and held against for good.

Under schema 2 the fingerprint itself names the graph. Fingerprints of schema 1 do not: there, and for homes made
before, this record beside the kept extractor is what binds the graph, so that no folder brings in another one.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ecos_core.errors import IntegrityError
from ecos_core.features.extractor import EXTRACTOR_NAME, TABLE_NAME, Extractor, load_saved
from ecos_core.storage import Location

AGREEMENT_NAME = "agreement.json"


class Agreement(BaseModel):
    """``graph``: digest of what is computed; None: there is no network (a table). ``agreed``: when, UTC."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    graph: str | None
    agreed: str


def agree(kept: Path, extractor: Any) -> Any:
    """Keep ``extractor`` in the folder ``kept`` with its agreement, or hold it against the one that stands.

    Returns the kept one, which is what runs. A source that is no ``Extractor`` is kept by itself and returned.
    Raises IntegrityError when the same fingerprint was agreed to with another graph, InputError when the graph is
    not allowed.
    """
    if not (kept / EXTRACTOR_NAME).exists():
        extractor.save(str(kept))
    if not is_program(extractor):
        return extractor
    running, held = recall(kept)
    offered = extractor.graph.digest if extractor.graph else None
    if offered != held.graph:
        raise IntegrityError(
            f"extractor {extractor.fingerprint[:16]}: its graph", str(held.graph), str(offered)
        )
    return running


def is_program(extractor: Any) -> bool:
    """Whether this is an extractor that a folder can hold: a graph, or a table's columns."""
    return isinstance(extractor, Extractor) and (
        extractor.export is not None or extractor.backbone == TABLE_NAME
    )


def recall(kept: Path) -> tuple[Extractor, Agreement]:
    """A kept extractor and its agreement; one kept before agreements were recorded gets its own now.

    Raises IntegrityError when the graph in the folder is not the one agreed to.
    """
    extractor = load_saved(str(kept), engine="onnx")
    graph = extractor.graph.digest if extractor.graph else None
    where = kept / AGREEMENT_NAME
    if not where.exists():
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        made = Agreement(fingerprint=extractor.fingerprint, graph=graph, agreed=now)
        Location.of(where).write_bytes(json.dumps(made.model_dump(), indent=1).encode())
    found = Agreement.model_validate_json(where.read_bytes())
    if (found.fingerprint, found.graph) != (extractor.fingerprint, graph):
        raise IntegrityError(f"{kept}: the graph agreed to", str(found.graph), str(graph))
    return extractor, found


def summary(extractor: Extractor) -> list[str]:
    """What the owner agrees to, in a few lines."""
    described = extractor.preprocessing.describe()
    kind = extractor.preprocessing.modality.unit
    side = f" of {described['image_size']} px" if "image_size" in described else ""
    lines = [f"extractor  {extractor.fingerprint}", f"backbone   {extractor.backbone}: reads {kind}{side}"]
    if extractor.graph is None:
        return [*lines, "computes   the table's own columns, standardised: no network"]
    lines += extractor.graph.summary()
    if extractor.projection:
        lines.append(f"then       a projection to {extractor.projection.dimension} numbers")
    if extractor.pin.schema_version < 2:
        lines.append(
            "note       its fingerprint is of an older kind that does not name the graph: compare the graph's digest "
            "with the cloud's"
        )
    return lines
