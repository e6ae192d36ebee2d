"""Images that stay where they are: the lake holds their address, and what is read there is checked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ecos_core.errors import IntegrityError
from ecos_core.lake.decode import BadSample
from ecos_core.lake.sources.web import fetch, is_web
from ecos_core.storage import Location, sha256_hex

if TYPE_CHECKING:
    import pyarrow as pa

_THREADS = 16


def with_referred_bytes(table: pa.Table) -> pa.Table:
    """``table`` (columns ``sample_id``, ``uri``, ``bytes``) with its null ``bytes`` fetched from ``uri``.

    Raises IntegrityError when a file is gone or its sha256 is not ``sample_id``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if table["bytes"].null_count == 0:
        return table
    missing = pc.indices_nonzero(pc.is_null(table["bytes"])).to_pylist()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="references") as pool:
        wanted = table.select(["sample_id", "uri"]).take(missing).to_pylist()
        fetched = list(pool.map(_fetch, wanted))
    data = table["bytes"].to_pylist()
    for index, content in zip(missing, fetched, strict=True):
        data[index] = content
    place = table.schema.get_field_index("bytes")
    return table.set_column(place, table.schema.field(place), pa.array(data, table.schema.field(place).type))


def _fetch(row: dict[str, Any]) -> bytes:
    try:
        data = fetch(row["uri"]) if is_web(row["uri"]) else Location.of(row["uri"]).read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(row["uri"], row["sample_id"], "no file") from error
    except BadSample as bad:
        raise IntegrityError(row["uri"], row["sample_id"], bad.detail) from bad
    if (found := sha256_hex(data)) != row["sample_id"]:
        raise IntegrityError(row["uri"], row["sample_id"], found)
    return data
