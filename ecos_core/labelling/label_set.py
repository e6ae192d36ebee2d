"""Which labels may be given: from a person's file or list, or the classes that the lake itself has."""

from __future__ import annotations

from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.labelling.label_names import checked_label_set
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.names import tidy
from ecos_core.storage.text import read_text, text_lines

_MOST_CLASSES = 1000


def named_label_set(text: str) -> tuple[str, ...]:
    """A file's lines where there is such a file, else names with commas.

    Raises InputError for what looks like a file's name and is none, and as ``read_text`` and ``checked_label_set`` do.
    """
    file = Path(text)
    if file.is_file():
        return checked_label_set([line for line in text_lines(read_text(file)) if line.strip()])
    names = [name for name in text.split(",") if name.strip()]
    if len(names) == 1 and (
        file.suffix.casefold() in (".txt", ".csv", ".tsv", ".json") or len(file.parts) > 1
    ):
        raise InputError(
            f"{file}: no such file of labels; give a text file, one label a line, or names with commas"
        )
    return checked_label_set(names)


def lake_classes(lake: Lake, snapshot: Snapshot | None = None) -> tuple[str, ...]:
    """The class names of the lake's own labels, sorted. Raises InputError where it has fewer than two, or so many
    that they are no classes."""
    within = snapshot or lake.snapshot()
    found: set[str] = set()
    for shard in within.shards:
        column = lake.read_images(shard, ["label"])["label"]
        found |= {
            name for value in column.unique().to_pylist() if value is not None and (name := tidy(value))
        }
        if len(found) > _MOST_CLASSES:
            break
    if not 2 <= len(found) <= _MOST_CLASSES:
        count = "none" if not found else f"{len(found):,}" if len(found) <= _MOST_CLASSES else "too many"
        raise InputError(
            f"{lake.location}: the lake's images name {count} of their classes; say which labels there are"
        )
    return tuple(sorted(found))
