"""Names of labels: one spelling of each, whatever encoding, normal form or tool it went through."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ecos_core.errors import InputError

# A line or paragraph separator inside a name would break every file with a name a line.
_BREAKS = re.compile(r"[\t\n\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]+")
_WHOLE = re.compile(r"(-?\d+)\.0+")


def label_name(text: str) -> str:
    """The name in NFC, without spaces and invisible characters at its ends; a line break inside is a space."""
    name = _BREAKS.sub(" ", unicodedata.normalize("NFC", text))
    ends = 0, len(name)
    kept = [at for at in range(*ends) if not _invisible(name[at])]
    return name[kept[0] : kept[-1] + 1] if kept else ""


def _invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


def labels_in(value: object) -> tuple[str, ...]:
    """The labels in a cell of a table: none for null, NaN and an empty text; several for a list, or for the object
    ``{"choices": […]}`` that Label Studio writes into its tables."""
    if value is None or value != value:
        return ()
    if isinstance(value, list | tuple):
        return tuple(name for item in value for name in labels_in(item))
    if isinstance(value, dict):
        return labels_in(value["choices"]) if "choices" in value else (label_name(json.dumps(value)),)
    text = label_name(str(value))
    if text.startswith("{") and '"choices"' in text:
        try:
            return labels_in(json.loads(text))
        except ValueError:
            return (text,)
    return (text,) if text else ()


def checked_label_set(names: Sequence[str]) -> tuple[str, ...]:
    """The label set in one spelling. Raises InputError for fewer than two labels, an empty one, or two that differ in
    nothing that can be seen."""
    spelled = [label_name(name) for name in names]
    if not all(spelled):
        raise InputError(
            "label set: a label is empty; at least two different labels are needed, none of them empty"
        )
    twice = sorted({name for name in spelled if spelled.count(name) > 1})
    if twice:
        raise InputError(
            f"label set: '{twice[0]}' stands there twice; at least two different labels are needed"
        )
    if len(spelled) < 2:
        raise InputError("label set: at least two different labels are needed, none of them empty")
    return tuple(spelled)


def in_the_set(label: str, label_set: frozenset[str]) -> str:
    """The label, or the one of the set that a table of numbers made it from: 3.0 for 3."""
    if label not in label_set and (whole := _WHOLE.fullmatch(label)) and whole[1] in label_set:
        return whole[1]
    return label


def nearest_label(label: str, label_set: Iterable[str]) -> str | None:
    """What somebody who wrote ``label`` probably meant, or None."""
    by_folded = {name.casefold(): name for name in label_set}
    found = get_close_matches(label.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None
