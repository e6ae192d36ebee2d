"""Tables of images: Parquet with the bytes in a column (as Hugging Face does), CSV or Parquet lists.

Columns are found by name: ``image`` (a struct of bytes and path, or bytes), or ``path`` / ``uri`` / ``url`` /
``file``; and ``label``, ``domain``, ``licence``, ``source``, ``attribution`` where they exist.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ecos_core.errors import InputError
from ecos_core.lake.sources.base import SourceItem, csv_reader, nonempty, refuse
from ecos_core.storage import Location
from ecos_core.storage.parquet import open_parquet

IMAGE_COLUMNS = ("image", "img", "bytes", "image_bytes", "content", "png", "jpg", "jpeg")
PATH_COLUMNS = ("path", "uri", "url", "file", "file_name", "filename", "image_path", "image")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "fine_label", "coarse_label")
OTHER_COLUMNS = {
    "domain": ("domain",),
    "source": ("source",),
    "licence": ("licence", "license"),
    "attribution": ("attribution", "author", "creator"),
}
_BATCH_ROWS = 64


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files with image bytes, or with addresses of images, read row group by row group."""

    files: tuple[Location, ...]
    name: str
    address: str

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        import pyarrow as pa

        total = 0
        for place in self.files:
            try:
                with place.open_input() as file:
                    total += open_parquet(file).metadata.num_rows
            except pa.ArrowInvalid:
                total += 1
        return total

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        for place in self.files:
            yield from self._one(place)

    def _one(self, place: Location) -> Iterator[SourceItem]:
        import pyarrow as pa

        uri, index = f"{self.name}/{place.name}", 0
        try:
            with place.open_input() as file:
                table = open_parquet(file)
                columns = _Columns.of(table.schema_arrow, place)
                for batch in table.iter_batches(_BATCH_ROWS, columns=columns.wanted(), use_threads=False):
                    for row in batch.to_pylist():
                        yield columns.item(f"{uri}#{index}", row, place)
                        index += 1
        except (pa.ArrowInvalid, OSError) as error:
            detail = f"the Parquet file is broken after {index} rows ({error})"
            yield SourceItem(uri, refuse("corrupt", " ".join(detail.split())[:200]))


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table mean what; ``names`` are the labels' names where labels are numbers."""

    image: str
    by_address: bool
    label: str | None
    others: Mapping[str, str]
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: Any, place: Location) -> _Columns:
        import pyarrow as pa

        found = {name.lower(): name for name in schema.names}
        label = next((found[name] for name in LABEL_COLUMNS if name in found), None)
        others = {
            role: found[name] for role, names in OTHER_COLUMNS.items() for name in names if name in found
        }
        for name in (found[name] for name in IMAGE_COLUMNS if name in found):
            kind = schema.field(name).type
            holds_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
            if holds_bytes or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
                return cls(name, False, label, others, _class_names(schema, label))
        for name in (found[name] for name in PATH_COLUMNS if name in found):
            if pa.types.is_string(schema.field(name).type) or pa.types.is_large_string(
                schema.field(name).type
            ):
                return cls(name, True, label, others, _class_names(schema, label))
        raise InputError(
            f"{place}: no column of images (one of {', '.join(IMAGE_COLUMNS[:4])}: bytes) or of addresses "
            f"({', '.join(PATH_COLUMNS[:4])}); found {', '.join(schema.names[:8])}"
        )

    def wanted(self) -> list[str]:
        return [self.image, *([self.label] if self.label else []), *self.others.values()]

    def item(self, uri: str, row: dict[str, Any], place: Location) -> SourceItem:
        value = row[self.image]
        data = value.get("bytes") if isinstance(value, dict) else value
        path = value.get("path") if isinstance(value, dict) else value if self.by_address else None
        facts: dict[str, Any] = {role: nonempty(row[column]) for role, column in self.others.items()}
        label = self._label(row[self.label]) if self.label else None
        if isinstance(data, bytes):
            return SourceItem(uri, lambda: data, label=label, stamp=str(len(data)), **facts)
        return addressed(uri, path, place, label=label, **facts)

    def _label(self, value: Any) -> str | None:
        if isinstance(value, int) and 0 <= value < len(self.names):
            return self.names[value]
        return nonempty(value)


def _class_names(schema: Any, label: str | None) -> tuple[str, ...]:
    """The names that Hugging Face datasets keep in the schema's metadata for a ClassLabel column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def addressed(uri: str, path: str | None, listing: Location, **facts: Any) -> SourceItem:
    """An item named by a path or URL; a relative path is looked up beside the list that names it."""
    text = nonempty(path)
    if text is None:
        return SourceItem(uri, refuse("empty", "a row without bytes and without an address"), **facts)
    is_whole = "://" in text or text.startswith(("/", "~"))
    place = Location.of(text) if is_whole else Location(f"{listing.url.rpartition('/')[0]}/{text}")
    return SourceItem(uri, place.read_bytes, **facts, address=place.url, stamp=place.url)


@dataclass(frozen=True)
class CsvSource:
    """A CSV list with a header; one column holds local paths or ``s3://`` addresses."""

    listing: Location
    name: str

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return self.listing.url

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in self.items())

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        with csv_reader(self.listing) as reader:
            yield from self._rows(reader)

    def _rows(self, reader: csv.DictReader[str]) -> Iterator[SourceItem]:
        found = {(name or "").strip().lower(): name for name in reader.fieldnames or []}
        path = next((found[name] for name in PATH_COLUMNS if name in found), None)
        if path is None:
            raise InputError(
                f"{self.listing}: no column of addresses; name one of {', '.join(PATH_COLUMNS[:4])} in the "
                "first line"
            )
        label = next((found[name] for name in LABEL_COLUMNS if name in found), None)
        others = {
            role: found[name] for role, names in OTHER_COLUMNS.items() for name in names if name in found
        }
        for row in reader:
            facts = {role: nonempty(row[column]) for role, column in others.items()}
            value = nonempty(row[path])
            uri = f"{self.name}/{value}" if value else f"{self.name}/{self.listing.name}#{reader.line_num}"
            yield addressed(uri, value, self.listing, label=nonempty(row[label]) if label else None, **facts)
