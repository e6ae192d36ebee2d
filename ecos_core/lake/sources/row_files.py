"""Files of rows, whatever wrote them: Parquet, Arrow, JSON lines (plain, .gz, .zst), CSV. Read as a stream of dicts.

A file that is broken, or a line that is no JSON, gives a ``Fault`` in its place and costs itself only.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ecos_core.errors import InputError
from ecos_core.storage import Location
from ecos_core.storage.csv_files import open_csv
from ecos_core.storage.parquet import open_parquet

BATCH_ROWS = 64
MAX_LINE_BYTES = 64 * 2**20
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather")
_PACKED = (".gz", ".zst")
LINES = (
    ".jsonl",
    ".ndjson",
    *(kind + packed for kind in (".jsonl", ".ndjson", ".json") for packed in _PACKED),
)
CSV = (".csv", ".tsv", ".tab")
SUFFIXES = (*PARQUET, *ARROW, *LINES, *CSV)

Row = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What could not be read: a row, or the rest of its file."""

    reason: str
    detail: str


def read_row_file(
    place: Location, wanted: Callable[[Any], list[str]] | None = None
) -> Iterator[tuple[int, Row | Fault]]:
    """(number from 0, row) of every row of a file of rows, told by its name.

    ``wanted`` picks the columns to read from the schema of a Parquet or Arrow file. Raises InputError when a CSV is
    none.
    """
    name = place.name.lower()
    if name.endswith(CSV):
        yield from _csv_rows(place)
    elif name.endswith(LINES) or name.endswith(".json"):
        yield from _lines(place)
    else:
        yield from _batches(place, wanted)


def schema_of(place: Location) -> Any:
    """The Arrow schema of a Parquet or Arrow file. Raises InputError when it is broken."""
    import pyarrow as pa

    try:
        with place.open_input() as file:
            if place.name.lower().endswith(ARROW):
                return _open_arrow(file).schema
            return open_parquet(file).schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{place}: a broken file of rows ({_one_line(error)})") from error


def first_row(place: Location) -> Row | None:
    """The first row that can be read; None where there is none."""
    return next((row for _, row in read_row_file(place) if not isinstance(row, Fault)), None)


def _open_arrow(file: BinaryIO) -> Any:
    """A reader of an Arrow IPC stream (as ``datasets`` saves) or file."""
    import pyarrow as pa

    start = file.read(6)
    file.seek(0)
    return pa.ipc.open_file(file) if start == b"ARROW1" else pa.ipc.open_stream(file)


def _batches(place: Location, wanted: Callable[[Any], list[str]] | None) -> Iterator[tuple[int, Row | Fault]]:
    import pyarrow as pa

    index = 0
    try:
        with place.open_input() as file:
            for batch in _record_batches(file, place, wanted):
                for row in batch.to_pylist():
                    yield index, row
                    index += 1
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        yield index, Fault("corrupt", f"the file is broken after {index} rows ({_one_line(error)})"[:200])


def _record_batches(
    file: BinaryIO, place: Location, wanted: Callable[[Any], list[str]] | None
) -> Iterator[Any]:
    if not place.name.lower().endswith(ARROW):
        table = open_parquet(file)
        columns = None if wanted is None else wanted(table.schema_arrow)
        yield from table.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
        return
    reader = _open_arrow(file)
    whole = (
        [reader.get_batch(i) for i in range(reader.num_record_batches)]
        if hasattr(reader, "get_batch")
        else reader
    )
    for batch in whole:
        chosen = batch if wanted is None else batch.select(wanted(batch.schema))
        for start in range(0, chosen.num_rows, BATCH_ROWS):
            yield chosen.slice(start, BATCH_ROWS)


def _lines(place: Location) -> Iterator[tuple[int, Row | Fault]]:
    index = 0
    try:
        with place.open_input() as opened, _unpacked(place, opened) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    yield (
                        index,
                        Fault("too_large", f"line {index + 1} is longer than {MAX_LINE_BYTES // 2**20} MiB"),
                    )
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE_BYTES)
                elif line.strip():
                    yield index, _json_row(line, index)
                else:
                    continue
                index += 1
    except (OSError, EOFError, zlib.error) as error:
        yield (
            index,
            Fault(
                "corrupt", f"the file is cut short or broken after {index} lines ({_one_line(error)})"[:200]
            ),
        )


def _unpacked(place: Location, file: BinaryIO) -> BinaryIO:
    """The lines' bytes, whatever the name says: the first bytes tell what packed them."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if start == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(file, "zstd"), 2**20)
    return file


def _json_row(line: bytes, index: int) -> Row | Fault:
    try:
        row = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return Fault("corrupt", f"line {index + 1} is no JSON")
    return row if isinstance(row, dict) else Fault("corrupt", f"line {index + 1} is no JSON object")


def _csv_rows(place: Location) -> Iterator[tuple[int, Row | Fault]]:
    with open_csv(place) as rows:
        for index, row in enumerate(rows):
            if None in row:
                yield index, Fault("corrupt", f"row {index + 1} has more cells than the first line names")
            else:
                yield index, dict(row)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
