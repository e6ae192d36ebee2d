"""Some of a lake's images by their ids: only the row groups that hold them are read, and every rule of the
lake holds for them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.licences import licence_filter
from ecos_core.lake.references import with_referred_bytes
from ecos_core.storage import ShardRecord
from ecos_core.storage.parquet import open_parquet

if TYPE_CHECKING:
    import pyarrow as pa


def image_rows(
    lake: Lake, snapshot: Snapshot, sample_ids: Iterable[str], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """``sample_id`` and the wanted columns of these samples, in the lake's order; memory is bounded by a row
    group.

    ``bytes`` of images that the lake only refers to are fetched, and held against their sample id.

    Raises InputError when the snapshot lacks one or the lake's licence rule forbids one (before the first
    row), IntegrityError when a shard or a referred image is gone or another one.
    """
    import pyarrow as pa

    wanted = pa.array(sorted(set(sample_ids)), pa.string())
    if (licences := licence_filter(lake, snapshot)) is not None:
        licences.check(wanted.to_pylist())
    missing = len(wanted)
    for shard in snapshot.shards:
        if missing == 0:
            return
        for table in _rows_of_shard(lake, shard, wanted, columns):
            missing -= table.num_rows
            yield from table.to_pylist()
    if missing:
        raise InputError(
            f"{lake.location}: {missing} of {len(wanted)} selected samples are not in this lake "
            f"(snapshot {snapshot.id[:12]}); give the lake that the selection was made from"
        )


def image_files(lake: Lake, snapshot: Snapshot, sample_ids: Iterable[str]) -> dict[str, bytes]:
    """The image files of these samples, all in memory. Raises as ``image_rows`` does."""
    return {row["sample_id"]: row["bytes"] for row in image_rows(lake, snapshot, sample_ids, ["bytes"])}


def _rows_of_shard(
    lake: Lake, shard: ShardRecord, wanted: pa.Array, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The wanted rows, a table for each row group that holds some."""
    import pyarrow as pa
    import pyarrow.compute as pc

    where = lake.images / "shards" / shard.name
    with_bytes = "bytes" in columns
    needed = list(dict.fromkeys(["sample_id", *columns, *(["uri"] if with_bytes else [])]))
    try:
        with where.open_input() as opened:
            if (size := opened.seek(0, io.SEEK_END)) != shard.bytes:
                raise IntegrityError(str(where), f"{shard.sha256} ({shard.bytes} bytes)", f"{size} bytes")
            file = open_parquet(opened, checked=True)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["sample_id"], use_threads=False)["sample_id"]
                rows = np.flatnonzero(pc.is_in(ids, value_set=wanted).to_numpy())
                if len(rows):
                    table = file.read_row_group(group, columns=needed, use_threads=False).take(rows)
                    yield (with_referred_bytes(table) if with_bytes else table).select(
                        list(dict.fromkeys(["sample_id", *columns]))
                    )
    except FileNotFoundError as error:
        raise IntegrityError(str(where), shard.sha256, "no file") from error
    except pa.ArrowInvalid as error:
        raise IntegrityError(str(where), shard.sha256, "an unreadable file") from error
