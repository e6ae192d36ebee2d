"""First answers to be shown to labellers: a model's, or the client's own by a private release."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError
from ecos_core.labelling.formats.rows import open_table
from ecos_core.labelling.label_names import labels_in
from ecos_core.labelling.tasks import Preannotation
from ecos_core.storage import Location, read_manifest, sha256_hex
from ecos_core.storage.parquet import open_parquet

SUGGESTIONS = "suggestions"
SUGGESTIONS_NAME = "suggestions.parquet"


@dataclass(frozen=True)
class Guesses:
    """First answers by sample id. ``origin`` says in a sentence where they are from; ``privacy`` what they cost
    the client (``epsilon_release``, ``delta``, …), None where nobody paid; ``digest`` of the file or the
    manifest.
    """

    by_sample: Mapping[str, Preannotation] = field(default_factory=dict)
    origin: str = ""
    digest: str | None = None
    privacy: Mapping[str, Any] | None = None


def read_preannotations(path: str | PathLike[str]) -> Guesses:
    """A CSV or Parquet file with ``sample_id``, ``label`` and optionally ``score``, ``model``, or a folder of
    ``ecos handoff suggest``.

    Raises InputError when a column is missing, a sample stands there twice, or a score is not in [0, 1].
    """
    where = Path(path)
    if where.is_dir():
        manifest = read_manifest(Location.of(where), SUGGESTIONS)
        said = manifest.summary
        return Guesses(_by_sample(where / SUGGESTIONS_NAME), said["origin"], manifest.digest, said["privacy"])
    if not where.is_file():
        raise InputError(f"{where}: no such file of preannotations")
    return Guesses(_by_sample(where), f"a model's guesses ({where.name})", sha256_hex(where.read_bytes()))


def preannotations_digest(path: str | None) -> str | None:
    """What ``Guesses.digest`` of this file or folder would be; None for no path, ``gone`` where nothing is there."""
    if path is None:
        return None
    where = Path(path)
    if not where.exists():
        return "gone"
    return (
        read_manifest(Location.of(where), SUGGESTIONS).digest
        if where.is_dir()
        else sha256_hex(where.read_bytes())
    )


def _by_sample(where: Path) -> dict[str, Preannotation]:
    guesses: dict[str, Preannotation] = {}
    for row in _rows(where):
        if not {"sample_id", "label"} <= row.keys():
            raise InputError(f"{where}: columns sample_id and label are needed")
        sample_id = str(row["sample_id"]).strip().casefold()
        if sample_id in guesses:
            raise InputError(f"{where}: sample {sample_id} stands there twice")
        labels = labels_in(row["label"])
        if len(labels) > 1:
            raise InputError(f"{where}: sample {sample_id} has several labels; a first answer is one")
        if labels:
            model = str(row.get("model") or where.stem)
            guesses[sample_id] = Preannotation(labels[0], _score(row, where), model)
    return guesses


def _score(row: Mapping[str, Any], where: Path) -> float | None:
    text = row.get("score")
    if text in (None, "") or text != text:
        return None
    try:
        # A spreadsheet in many countries writes 0,5.
        score = float(text.replace(",", ".") if isinstance(text, str) else text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise InputError(f"{where}: score '{text}' of sample {row['sample_id']} is not between 0 and 1")
    return score


def _rows(where: Path) -> Iterator[Mapping[str, Any]]:
    if where.suffix.casefold() in (".csv", ".tsv", ".txt"):
        with open_table(where) as rows:
            yield from (row for row in rows if any(row.values()))
        return
    import pyarrow as pa

    try:
        yield from open_parquet(where).read(use_threads=False).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{where}: neither a .csv nor a Parquet file") from error
