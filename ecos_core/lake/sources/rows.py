"""Tables whose rows are the samples: a CSV with a header, read the same way for the lake, the client and a test set.

The columns ``label``, ``domain``, ``source``, ``licence`` and ``attribution`` say what a row is; all others are
the sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ecos_core.errors import InputError
from ecos_core.lake.modality import examine_row, row_bytes
from ecos_core.lake.sources.base import SourceItem
from ecos_core.lake.sources.facts import Columns, Facts
from ecos_core.names import readable
from ecos_core.storage import Location
from ecos_core.storage.csv_files import open_csv

_ROLES = frozenset({"label", "domain", "source", "attribution", "licence", "license"})
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


@dataclass(frozen=True)
class Row:
    """One row: its number (the first is 1), the sample's bytes, and what is known of it."""

    number: int
    data: bytes
    facts: Facts


def read_rows(listing: Location) -> Iterator[Row]:
    """The rows of a CSV.

    Raises InputError when it is none, a row has more cells than columns, or numbers are written with a decimal comma.
    """
    with open_csv(listing) as reader:
        names = list(reader.fieldnames or [])
        columns = [name for name in names if name.lower() not in _ROLES]
        if not columns or "" in columns or len(set(names)) != len(names):
            raise InputError(
                f"{listing}: no table of samples: the first line must name the columns, each once, "
                f"and one beside {', '.join(sorted(_ROLES - {'license'}))}"
            )
        roles = Columns.of([name for name in names if name not in columns])
        for number, cells in enumerate(reader, start=1):
            if None in cells:
                raise InputError(f"{listing}: row {number} has more cells than the first line names")
            if any(_DECIMAL_COMMA.fullmatch(cells[name].strip()) for name in columns):
                raise InputError(
                    f"{listing}: row {number} has a number with a decimal comma; save the table with decimal points"
                )
            yield Row(number, row_bytes({name: cells[name] for name in columns}), roles.facts(cells))


@dataclass(frozen=True)
class RowSource:
    """The rows of a CSV as samples of a lake."""

    listing: Location
    name: str

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return self.listing.url

    def count(self) -> int | None:
        """How many rows there are; None where only reading tells."""
        return None

    def items(self) -> Iterator[SourceItem]:
        """Every row, in their order."""
        uri, stamp = readable(f"{self.name}/{self.listing.name}"), self.listing.stamp()
        for row in read_rows(self.listing):
            facts: dict[str, Any] = row.facts.item()
            yield SourceItem(
                f"{uri}#{row.number}",
                partial(bytes, row.data),
                stamp=f"{stamp}-{len(row.data)}",
                examine=examine_row,
                **facts,
            )
