"""One way to turn what people and tools write into names: of classes, domains, sources, units, columns.

Names are compared after Unicode's composed form (NFC, as Macs write the other one), without space around them
and with one space inside. Free of heavy imports: the client uses it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from numbers import Integral, Number, Real

# What stands for "no answer" in a cell: -1 (scikit-learn, Hugging Face), NaN, pandas' <NA>, R's and Excel's words.
NO_LABEL = frozenset({"", "-1", "nan", "NaN", "NA", "<NA>", "#N/A"})
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")


def readable(name: str) -> str:
    """``name`` as text that can be encoded: bytes that are no UTF-8 (``os.fsdecode``) become ``\\xe9``."""
    try:
        data = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, as JSON can spell it
        data = name.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def tidy(text: str) -> str:
    """The form in which names are compared and kept: NFC, every run of white space one space, none around."""
    return unicodedata.normalize("NFC", " ".join(readable(text).strip(_INVISIBLE).split())).strip(_INVISIBLE)


def text_of(value: object) -> str | None:
    """A single cell of a table or a metadata file as tidy text; None where there is nothing, or no single value.

    Whole floats are written as integers, since a column of integers with a gap becomes one of floats. Lists,
    objects and dates are no names.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, str):
        return tidy(value) or None
    if type(value).__name__ in ("bool", "bool_"):  # also numpy's
        return str(bool(value))
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        return None if number != number or number in (float("inf"), float("-inf")) else _number(value, number)
    return str(value) if isinstance(value, Number) and not isinstance(value, complex) else None


def class_name(value: object) -> str | None:
    """The class that a cell, a JSON value, a ``.cls`` file or a folder's name says; None for "no label".

    No label: nothing, -1, NaN, ``NA``, infinity, and whatever is no single value (lists, objects, bytes that are
    no UTF-8). 3, 3.0 and "3.0" are "3"; "007" and "1_2" stay as they are; True is "True".
    """
    text = text_of(value)
    if text is not None and (whole := _WHOLE.fullmatch(text)):
        text = whole[1]
    return None if text is None or text in NO_LABEL else text


def number_of(text: str) -> int | float | None:
    """The number that a cell writes: ``-3``, ``0.5``, ``1e-3``. ``1_2``, ``007`` and full-width digits are text."""
    digits = text.removeprefix("-").removeprefix("+")
    if not text.isascii() or "_" in text or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()):
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None


def _number(value: Real, number: float) -> str:
    return str(int(number)) if number == int(number) else str(value)
