"""Names of labels: one spelling of each, whatever encoding, normal form or tool it went through."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ecos_core.errors import InputError
from ecos_core.names import class_name, text_of, tidy


def labels_in(value: object) -> tuple[str, ...]:
    """The labels in a cell of a table: none for null, NaN and an empty text; several for a list, or for the object
    ``{"choices": […]}`` that Label Studio writes into its tables."""
    if isinstance(value, list | tuple):
        return tuple(name for item in value for name in labels_in(item))
    if isinstance(value, dict):
        return labels_in(value["choices"]) if "choices" in value else (tidy(json.dumps(value)),)
    text = text_of(value)
    if text is not None and text.startswith("{") and '"choices"' in text:
        try:
            return labels_in(json.loads(text))
        except ValueError:
            return (text,)
    return () if text is None else (text,)


def checked_label_set(names: Sequence[str]) -> tuple[str, ...]:
    """The label set in one spelling. Raises InputError for fewer than two labels, an empty one, or two that differ in
    nothing that can be seen."""
    spelled = [tidy(name) for name in names]
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
        listed = (
            "; one label a line, or names with commas on the command line" if "," in "".join(spelled) else ""
        )
        raise InputError(f"label set: at least two different labels are needed, none of them empty{listed}")
    return tuple(spelled)


def in_the_set(label: str, label_set: frozenset[str]) -> str | None:
    """The label in the spelling of the set: 3.0 is 3 where there is no 3.0; None for what says "no label" (``NA``, -1)
    and is not in the set."""
    text = tidy(label)
    if text in label_set:
        return text
    name = class_name(text)
    return name if name is None or name in label_set else text


def nearest_label(label: str, label_set: Iterable[str]) -> str | None:
    """What somebody who wrote ``label`` probably meant, or None."""
    by_folded = {name.casefold(): name for name in label_set}
    found = get_close_matches(label.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None
