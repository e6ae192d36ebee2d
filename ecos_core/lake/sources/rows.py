"""Tables whose rows are the samples: a CSV with a header, read the same way for the lake, the client and a test set.

The columns ``label``, ``domain``, ``source``, ``licence`` and ``attribution`` say what a row is; all others are
the sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ecos_core.errors import InputError
from ecos_core.lake.modality import examine_row, row_bytes
from ecos_core.lake.sources.base import SourceItem, csv_reader, nonempty
from ecos_core.storage import Location

ROLES = {"label": "label", "domain": "domain", "source": "source", "attribution": "attribution",
         "licence": "licence", "license": "licence"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row: its number (the first is 1), the sample's bytes, and what is known of it by role."""

    number: int
    data: bytes
    facts: Mapping[str, str | None]


def read_rows(listing: Location) -> Iterator[Row]:
    """The rows of a CSV. Raises InputError when it is none, or a row has more cells than columns."""
    with csv_reader(listing) as reader:
        names = [name or "" for name in reader.fieldnames or []]
        columns = [name for name in names if name.strip().lower() not in ROLES]
        if not columns or "" in columns or len(set(names)) != len(names):
            raise InputError(
                f"{listing}: no table of samples: the first line must name the columns, each once, "
                f"and one beside {', '.join(sorted(set(ROLES.values())))}"
            )
        for number, cells in enumerate(reader, start=1):
            if None in cells:
                raise InputError(f"{listing}: row {number} has more cells than the first line names")
            facts = {
                ROLES[name.strip().lower()]: nonempty(cells[name]) for name in names if name not in columns
            }
            yield Row(number, row_bytes({name: cells[name] or "" for name in columns}), facts)


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
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in read_rows(self.listing))

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        for row in read_rows(self.listing):
            yield SourceItem(
                f"{self.name}/{self.listing.name}#{row.number}",
                lambda data=row.data: data,  # type: ignore[misc]
                stamp=str(len(row.data)),
                examine=examine_row,
                **row.facts,
            )
