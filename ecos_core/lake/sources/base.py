"""What a source is: an ordered, repeatable stream of items, their bytes read on demand.

The order is the source's own and never depends on the machine, so that an interrupted ingest can go on
where it was.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ecos_core.errors import InputError
from ecos_core.lake.decode import BadSample
from ecos_core.lake.modality import Examine, examine_image
from ecos_core.storage import Location


@dataclass(frozen=True)
class SourceItem:
    """One candidate sample.

    ``uri``: its address inside the source. ``stamp`` changes when the file does (size and time), where that
    is known without reading. ``load`` gives the bytes or raises BadSample or OSError; it may be called from
    any thread. ``examine`` verifies them and says what they are (``lake.modality``). ``source``, ``licence``
    and ``attribution`` are the item's own, where the source knows them.
    """

    uri: str
    load: Callable[[], bytes]
    domain: str | None = None
    label: str | None = None
    stamp: str = ""
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None
    address: str | None = None
    examine: Examine = examine_image


@runtime_checkable
class Source(Protocol):
    """``name`` is recorded with every image unless the user gives another; ``address`` says where it is."""

    @property
    def name(self) -> str:
        """What rows are told to come from, where nobody says otherwise."""
        ...

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        ...

    def count(self) -> int | None:
        """How many items, if that is cheap to know."""
        ...

    def items(self) -> Iterator[SourceItem]:
        """All items in the source's order; may be called again."""
        ...


def refuse(reason: str, detail: str) -> Callable[[], bytes]:
    """A ``load`` for what is known to be bad before it is read."""

    def load() -> bytes:
        raise BadSample(reason, detail)

    return load


def domain_and_label(parts: Sequence[str]) -> tuple[str | None, str | None]:
    """What a path says: ``…/domain/class/file``, ``class/file`` or ``file``."""
    domain = parts[-3] if len(parts) > 2 else None
    label = parts[-2] if len(parts) > 1 else None
    return readable(domain), readable(label)


def readable(name: str | None) -> str | None:
    """File names are bytes; those that are no UTF-8 are kept with \\x escapes."""
    return None if name is None else os.fsencode(name).decode("utf-8", "backslashreplace")


@contextmanager
def csv_reader(listing: Location) -> Iterator[csv.DictReader[str]]:
    """The rows of a CSV with a header. Raises InputError, also while it is read, when it is none."""
    with listing.open_input() as file:
        try:
            yield csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{listing}: not a CSV file in UTF-8 ({error})") from error


def nonempty(value: object) -> str | None:
    """A cell of a table or a metadata file as text; None where there is nothing."""
    text = "" if value is None or value != value else str(value).strip()  # NaN differs from itself
    return text or None
