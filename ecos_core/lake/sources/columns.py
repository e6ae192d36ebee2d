"""Tables whose rows hold or name images, and records that hold texts, each row with what is known of it.

Columns are found by name, in any case: ``image`` (bytes, or a struct of bytes and path, as Hugging Face does), or
``path`` / ``uri`` / ``url`` / ``file``; ``text`` for documents (FineWeb, C4, Dolma); and ``label``, ``domain``,
``licence``, ``source``, ``attribution``. All other single values are kept (``sources.facts``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecos_core.errors import InputError
from ecos_core.lake.modality import examine_text
from ecos_core.lake.sources.addresses import addressed
from ecos_core.lake.sources.base import SourceItem, passed, refuse
from ecos_core.lake.sources.facts import Columns
from ecos_core.lake.sources.row_files import ARROW, CSV, PARQUET, Fault, first_row, read_row_file, schema_of
from ecos_core.names import class_name, readable
from ecos_core.storage import Location
from ecos_core.storage.csv_files import open_csv
from ecos_core.storage.parquet import open_parquet

IMAGE_COLUMNS = (
    "image",
    "img",
    "bytes",
    "image_bytes",
    "content",
    "png",
    "jpg",
    "jpeg",
    "webp",
    "jpeg_bytes",
)
PATH_COLUMNS = (
    "path", "uri", "url", "file", "file_name", "filename", "filepath", "file_path", "image_path", "image_url", "image",
)  # fmt: skip
TEXT_COLUMNS = ("text", "raw_content", "content", "document", "body", "passage")
# Tables with addresses of pictures have these beside; records of documents do not.
_OF_PICTURES = frozenset(
    {"width", "height", "nsfw", "similarity", "punsafe", "pwatermark", "aesthetic", "caption", "hash"}
)
_OF_DOCUMENTS = frozenset({
    "id", "dump", "language", "language_score", "token_count", "timestamp", "added", "created", "metadata",
})  # fmt: skip
_PICTURE_ENDS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


@dataclass(frozen=True)
class TableSource:
    """Files of rows, read row group by row group or line by line; ``files`` are (name in the source, place).

    ``kind``: ``image`` or ``text``. ``side``: files of the data set that hold no samples.
    """

    files: tuple[tuple[str, Location], ...]
    name: str
    address: str
    kind: str = "image"
    side: tuple[str, ...] = ()

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        total = len(self.side)
        for name, place in self.files:
            if not name.lower().endswith(PARQUET):
                return None
            total += _rows_of(place)
        return total

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        yield from (passed(readable(f"{self.name}/{name}"), "side") for name in self.side)
        for name, place in self.files:
            yield from self._one(name, place)

    def _one(self, name: str, place: Location) -> Iterator[SourceItem]:
        uri = readable(f"{self.name}/{name}")
        try:
            meaning = meaning_of(place, self.kind)
            stamp = place.stamp()
        except (InputError, OSError) as error:
            if place.name.lower().endswith(CSV):
                raise
            yield SourceItem(uri, refuse("corrupt", str(error).removeprefix(f"{place}: ")[:200]))
            return
        for index, row in read_row_file(place, meaning.wanted):
            if isinstance(row, Fault):
                yield SourceItem(f"{uri}#{index}", refuse(row.reason, row.detail), stamp=stamp)
            else:
                yield meaning.item(f"{uri}#{index}", row, place, stamp)


def _rows_of(place: Location) -> int:
    import pyarrow as pa

    try:
        with place.open_input() as file:
            return int(open_parquet(file).metadata.num_rows)
    except (pa.ArrowException, OSError, ValueError):
        return 1


@dataclass(frozen=True)
class Meaning:
    """Which column of a table holds the sample (``how``: bytes, address or text); ``names`` are the labels' names."""

    column: str
    how: str
    names: tuple[str, ...] = ()
    _columns: dict[tuple[str, ...], Columns] = field(default_factory=dict)

    def wanted(self, schema: Any) -> list[str]:
        """The columns of a typed file worth reading: the sample, and all that are single values."""
        return [item.name for item in schema if item.name == self.column or _is_single(item.type)]

    def item(self, uri: str, row: Mapping[str, Any], place: Location, stamp: str) -> SourceItem:
        """The sample that a row stands for, or why it is refused."""
        cells = _flat(row) if self.how == "text" else row
        known = self._columns.get(tuple(cells))
        if known is None:
            known = self._columns.setdefault(tuple(cells), Columns.of(cells, (self.column,)))
        facts: dict[str, Any] = known.facts(cells, self._label).item()
        value = row.get(self.column)
        if self.how == "text":
            return _text_item(uri, value, stamp, facts)
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes):
            return SourceItem(uri, lambda: data, stamp=f"{stamp}-{len(data)}", **facts)
        path = value.get("path") if isinstance(value, dict) else value if self.how == "address" else None
        return addressed(uri, path, place, stamp=stamp, **facts)

    def _label(self, value: Any) -> str | None:
        if self.names and isinstance(value, int) and not isinstance(value, bool):
            return self.names[value] if 0 <= value < len(self.names) else None
        return class_name(value)


def meaning_of(place: Location, kind: str) -> Meaning:
    """What the columns of a file of rows mean. Raises InputError when none holds samples of the kind."""
    if place.name.lower().endswith((*PARQUET, *ARROW)):
        return _of_schema(schema_of(place), place, kind)
    if place.name.lower().endswith(CSV):
        with open_csv(place) as rows:
            names = list(rows.fieldnames or [])
        return _of_names(names, place, kind)
    row = first_row(place)
    return _of_names([] if row is None else list(row), place, kind)


def _of_names(names: Sequence[str], place: Location, kind: str) -> Meaning:
    found = {name.strip().lower(): name for name in names}
    wanted = TEXT_COLUMNS if kind == "text" else PATH_COLUMNS
    for name in wanted:
        if name in found:
            return Meaning(found[name], "text" if kind == "text" else "address")
    raise InputError(_nothing(place, names, kind))


def _of_schema(schema: Any, place: Location, kind: str) -> Meaning:
    import pyarrow as pa

    found = {name.strip().lower(): name for name in schema.names}
    if kind == "text":
        for name in (found[name] for name in TEXT_COLUMNS if name in found):
            if _is_text(schema.field(name).type):
                return Meaning(name, "text", _class_names(schema))
        raise InputError(_nothing(place, schema.names, kind))
    for name in (found[name] for name in IMAGE_COLUMNS if name in found):
        kind_of = schema.field(name).type
        if _is_bytes(kind_of) or (pa.types.is_struct(kind_of) and kind_of.get_field_index("bytes") >= 0):
            return Meaning(name, "bytes", _class_names(schema))
    for name in (found[name] for name in PATH_COLUMNS if name in found):
        if _is_text(schema.field(name).type):
            return Meaning(name, "address", _class_names(schema))
    raise InputError(_nothing(place, schema.names, kind))


def _nothing(place: Location, names: Sequence[str], kind: str) -> str:
    seen = ", ".join(map(readable, names[:8])) or "nothing"
    if kind == "text":
        return f"{place}: no column of texts (one of {', '.join(TEXT_COLUMNS[:4])}); found {seen}"
    alone = "; are the columns separated by something else?" if len(names) == 1 else ""
    return (
        f"{place}: no column of images (one of {', '.join(IMAGE_COLUMNS[:4])}: bytes) or of addresses "
        f"({', '.join(PATH_COLUMNS[:4])}); found {seen}{alone}"
    )


def holds_texts(place: Location) -> bool:
    """Whether a file of rows holds documents: a column of texts, and no pictures in bytes or by address.

    Lists of pictures carry captions called ``text`` and documents carry the ``url`` of their page: what else is there,
    and how the first addresses end, tells them apart.
    """
    try:
        text = meaning_of(place, "text")
    except InputError:
        return False
    try:
        image = meaning_of(place, "image")
    except InputError:
        return True
    if image.how == "bytes":
        return False
    typed = place.name.lower().endswith((*PARQUET, *ARROW))
    first = first_row(place) or {}
    names = {name.lower() for name in (schema_of(place).names if typed else first)} - {text.column.lower()}
    if names & _OF_PICTURES:
        return False
    if names & _OF_DOCUMENTS:
        return True
    return not str(first.get(image.column, "")).lower().partition("?")[0].endswith(_PICTURE_ENDS)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_single(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_single(kind.value_type)
    return _is_text(kind) or bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        or pa.types.is_struct(kind) or pa.types.is_decimal(kind)
    )  # fmt: skip


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A document's values, those of its ``metadata`` object beside the others."""
    inner = row.get("metadata")
    return (inner if isinstance(inner, dict) else {}) | dict(row)


def _class_names(schema: Any) -> tuple[str, ...]:
    """The names that Hugging Face datasets keep in the schema's metadata for a ClassLabel column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        named = [
            one["names"]
            for one in features.values()
            if isinstance(one, dict) and one.get("_type") == "ClassLabel"
        ]
        label = next(features[name] for name in Columns.of(features).roles["label"])
        return tuple(class_name(name) or str(name) for name in label["names"]) if named else ()
    except (KeyError, TypeError, ValueError, StopIteration):
        return ()


def _text_item(uri: str, value: Any, stamp: str, facts: dict[str, Any]) -> SourceItem:
    if not isinstance(value, str):
        return SourceItem(uri, refuse("not_a_text", "a record without a text"), stamp=stamp, **facts)
    try:
        data = value.encode()
    except UnicodeEncodeError:
        return SourceItem(uri, refuse("not_a_text", "holds half a surrogate pair"), stamp=stamp, **facts)
    return SourceItem(uri, lambda: data, stamp=f"{stamp}-{len(data)}", examine=examine_text, **facts)
