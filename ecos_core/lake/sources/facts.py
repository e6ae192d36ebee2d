"""What a table, a JSON file or a crawler says about a sample: its class, domain, licence, author, and the rest.

Keys and columns are matched without regard to case, ``_``, ``-`` and spaces. What has no role of its own (NSFW and
watermark scores, similarity, caption, url, …) is kept with the sample as ``extra``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecos_core.names import NO_LABEL, class_name, number_of, readable, text_of, tidy

Extra = bool | int | float | str

ROLES: Mapping[str, tuple[str, ...]] = {
    "label": ("cls", "label", "labels", "class", "classname", "finelabel", "coarselabel"),
    "domain": ("domain",),
    "source": ("source",),
    "licence": (
        "licence", "license", "licencename", "licensename", "licencetype", "licensetype", "licenseshortname", "spdx",
        "spdxlicense", "rights", "licenceurl", "licenseurl", "licenselink",
    ),
    "attribution": ("attribution", "author", "creator", "artist", "photographer", "rightsholder"),
}  # fmt: skip
# What people write where they do not know the licence: it is known to be unknown, and no other takes its place.
UNKNOWN_LICENCES = frozenset(
    {"?", "-", "unknown", "none", "null", "n/a", "na", "nan", "not stated", "not specified", "unspecified"}
)
UNKNOWN = "unknown"
# Columns that tools write for themselves, or that say nothing of the sample.
_FOR_TOOLS = frozenset({"exif", "key", "status", "errormessage", "sha256", "indexlevel0", "json"})
MOST_EXTRA = 64
MAX_EXTRA_CHARACTERS = 4096


@dataclass(frozen=True)
class Facts:
    """What is known of a sample."""

    label: str | None = None
    domain: str | None = None
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None
    extra: Mapping[str, Extra] = field(default_factory=dict)

    def item(self) -> dict[str, Any]:
        """As arguments of a ``SourceItem``."""
        return dict(self.__dict__)


def key_of(name: str) -> str:
    """The form in which keys are compared."""
    return "".join(letter for letter in tidy(name).lower() if letter not in "_- .")


def role_columns(names: Iterable[str]) -> dict[str, list[str]]:
    """Role -> the names that play it, the most telling first."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(key_of(name), []).append(name)
    columns = {role: [name for key in keys for name in found.get(key, ())] for role, keys in ROLES.items()}
    return {role: names for role, names in columns.items() if names}


@dataclass(frozen=True)
class Columns:
    """Which names of a table or an object mean what. Made once a table, used for every row."""

    roles: Mapping[str, list[str]]
    extra: Mapping[str, str]

    @classmethod
    def of(cls, names: Iterable[str], taken: Iterable[str] = ()) -> Columns:
        """``taken`` hold the sample itself and are no facts."""
        skipped = set(taken)
        left = [name for name in names if name not in skipped]
        roles = role_columns(left)
        used = {name for names in roles.values() for name in names}
        extra = {
            name: extra_name(name) for name in left if name not in used and key_of(name) not in _FOR_TOOLS
        }
        return cls(roles, {name: short for name, short in extra.items() if short})

    def facts(self, cells: Mapping[str, Any], label_of: Callable[[Any], str | None] = class_name) -> Facts:
        """The facts of one row. ``label_of`` turns a label's cell into a name."""
        found: dict[str, Any] = {
            role: self._first(cells, role, text_of) for role in self.roles if role != "label"
        }
        if (licence := found.get("licence")) is not None and licence.lower() in UNKNOWN_LICENCES:
            found["licence"] = UNKNOWN
        return Facts(self._first(cells, "label", label_of), extra=self._extras(cells), **found)

    def _first(self, cells: Mapping[str, Any], role: str, read: Callable[[Any], str | None]) -> str | None:
        values = (read(cells.get(name)) for name in self.roles.get(role, ()))
        return next((value for value in values if value is not None), None)

    def _extras(self, cells: Mapping[str, Any]) -> dict[str, Extra]:
        found: dict[str, Extra] = {}
        for name, short in self.extra.items():
            value = _scalar(cells.get(name))
            if value is not None and len(found) < MOST_EXTRA:
                found.setdefault(short, value)
        return found


def facts_of(cells: Mapping[str, Any]) -> Facts:
    """The facts of one object with keys of its own."""
    return Columns.of(cells).facts(cells)


def extra_name(name: str) -> str:
    """The name under which a column is kept and filtered: lower case, anything but letters and digits ``_``."""
    letters = "".join(letter if letter.isalnum() else "_" for letter in tidy(name).lower()).strip("_")
    return letters[:64]


def _scalar(value: Any) -> Extra | None:
    """A value worth keeping: a number, a truth or a text; texts that write a number are one."""
    if isinstance(value, bool | int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        text = readable(value).strip()
        if text in NO_LABEL and text != "-1":
            return None
        number = number_of(text)
        if number is not None and -(2**63) <= number < 2**63:
            return number
        return text[:MAX_EXTRA_CHARACTERS] or None
    text_value = text_of(value)
    return None if text_value is None else _scalar(text_value)
