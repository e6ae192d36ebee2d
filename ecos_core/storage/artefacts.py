"""An artefact is a folder of Parquet shards and a ``manifest.json`` written last.

Shards are deterministic bytes for the same table; the manifest carries no clock, so the same inputs give
the same digest. Columns named ``private_*`` are refused: private data never enters an artefact.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecos_core.errors import InputError, IntegrityError
from ecos_core.storage.locations import Location
from ecos_core.storage.parquet import open_parquet

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
PRIVATE_PREFIX = "private_"


class ShardRecord(BaseModel):
    """A finished shard: its name inside the artefact's folder, its rows, and the digest of its bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What an artefact is made of and from.

    ``inputs`` maps a role to the digest of the artefact that played it; ``parameters`` is what was asked for;
    ``summary`` is what came out (counts, figures). ``digest`` identifies the whole.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    kind: str
    inputs: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    shards: list[ShardRecord] = Field(default_factory=list)
    summary: dict[str, Any] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON, 64 hex digits."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))

    @property
    def rows(self) -> int:
        """Rows in all shards."""
        return sum(shard.rows for shard in self.shards)


def sha256_hex(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes. NaN and infinity are refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    ).encode()


def write_shard(
    folder: Location,
    name: str | None,
    table: pa.Table,
    *,
    row_group_rows: int = 65_536,
    opaque: Sequence[str] = (),
) -> ShardRecord:
    """Write ``table`` as zstd Parquet under ``folder/name``, atomically. Without a name it is its own sha256's.

    Columns in ``opaque`` hold what is compressed already and are stored as they are. Raises InputError when a
    column is private or the disk refuses.
    """
    import pyarrow.parquet as pq

    private = [column for column in table.column_names if column.startswith(PRIVATE_PREFIX)]
    if private:
        where = folder / (name or "a shard")
        raise InputError(
            f"{where}: column(s) {private} are private to the client and may not be written here"
        )
    buffer = io.BytesIO()
    pq.write_table(
        table, buffer, row_group_size=row_group_rows, write_page_checksum=True, **_encodings(table, opaque)
    )
    data = buffer.getvalue()
    digest = sha256_hex(data)
    record = ShardRecord(
        name=name or f"{digest}.parquet", rows=table.num_rows, bytes=len(data), sha256=digest
    )
    (folder / record.name).write_bytes(data)
    return record


def _dictionary_columns(schema: pa.Schema) -> bool | list[str]:
    """Which columns may be dictionary-encoded: vectors of floats never repeat, and read four times slower so."""
    import pyarrow as pa

    vectors = [field.name for field in schema if pa.types.is_fixed_size_list(field.type)]
    return [name for name in schema.names if name not in vectors] if vectors else True


def _encodings(table: pa.Table, opaque: Sequence[str]) -> dict[str, Any]:
    """zstd for all columns; opaque ones without compression, dictionary and statistics."""
    import pyarrow as pa

    if not opaque:
        return {"compression": "zstd", "use_dictionary": _dictionary_columns(table.schema)}
    leaves = {
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in table.schema
        if field.name not in opaque
    }
    return {
        "compression": dict.fromkeys(opaque, "none") | dict.fromkeys(leaves, "zstd"),
        "use_dictionary": sorted(leaves),
        "write_statistics": sorted(leaves),
    }


def read_shard(
    folder: Location,
    record: ShardRecord,
    columns: Sequence[str] | None = None,
    *,
    part: tuple[int, int] = (0, 1),
) -> pa.Table:
    """Read columns of one shard, checking its size and the checksums of the pages read.

    ``part`` (i, n): only the i-th of n consecutive parts of its row groups; together they are the shard.
    Raises IntegrityError when it is missing or not the one recorded.
    """
    import pyarrow as pa

    where = folder / record.name
    try:
        with where.open_input() as file:
            if (size := file.seek(0, io.SEEK_END)) != record.bytes:
                raise IntegrityError(str(where), f"{record.sha256} ({record.bytes} bytes)", f"{size} bytes")
            names = None if columns is None else list(columns)
            parquet = open_parquet(file, checked=True)
            first, end = (parquet.num_row_groups * index // part[1] for index in (part[0], part[0] + 1))
            return parquet.read_row_groups(range(first, end), columns=names, use_threads=False)
    except FileNotFoundError as error:
        raise IntegrityError(str(where), record.sha256, "no file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(str(where), record.sha256, "an unreadable file") from error


def verify_shards(folder: Location, manifest: Manifest) -> None:
    """Re-hash every shard. Raises IntegrityError at the first that differs."""
    for record in manifest.shards:
        where = folder / record.name
        try:
            found = sha256_hex(where.read_bytes())
        except FileNotFoundError as error:
            raise IntegrityError(str(where), record.sha256, "no file") from error
        if found != record.sha256:
            raise IntegrityError(str(where), record.sha256, found)


def write_manifest(folder: Location, manifest: Manifest, name: str = MANIFEST_NAME) -> str:
    """Write the manifest, which makes the artefact exist. Returns its digest."""
    (folder / name).write_bytes(
        json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True).encode()
    )
    return manifest.digest


def read_manifest(folder: Location, kind: str, name: str = MANIFEST_NAME) -> Manifest:
    """Read and check a manifest.

    Raises InputError when there is none, or it is of another kind or a newer schema.
    """
    where = folder / name
    try:
        manifest = Manifest.model_validate_json(where.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: no finished {kind} here (its manifest is missing); run the step that makes it"
        ) from error
    except ValidationError as error:
        raise IntegrityError(str(where), "a valid manifest", f"{error.error_count()} error(s)") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise InputError(
            f"{where}: written by a newer version (schema {manifest.schema_version}); upgrade ecos"
        )
    if manifest.kind != kind:
        raise InputError(f"{where}: this is a '{manifest.kind}', a '{kind}' is needed")
    return manifest
