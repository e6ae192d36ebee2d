"""Rows of some of a lake's images, read shard by shard and only the row groups that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.storage import Location


def image_rows(
    lake: Lake, snapshot: Snapshot, sample_ids: Sequence[str], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The wanted columns of these samples, in the lake's order; memory is bounded by a row group.

    Raises InputError when a sample is not in the snapshot.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = pa.array(sorted(set(sample_ids)), pa.string())
    found = 0
    for shard in snapshot.shards:
        where = lake.images / "shards" / shard.name
        try:
            with where.open_input() as opened:
                file = pq.ParquetFile(opened)
                for rows in _groups_with(file, wanted, list(columns)):
                    found += len(rows)
                    yield from rows
        except FileNotFoundError as error:
            raise IntegrityError(str(where), shard.sha256, "no file") from error
    if found < len(wanted):
        raise InputError(
            f"{lake.location}: {len(wanted) - found} of {len(wanted)} selected samples are not in snapshot "
            f"{snapshot.id[:12]}; give the lake that the selection was made from"
        )


def _groups_with(file: Any, wanted: Any, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    import pyarrow.compute as pc

    for group in range(file.num_row_groups):
        hits = pc.is_in(file.read_row_group(group, columns=["sample_id"])["sample_id"], value_set=wanted)
        if pc.any(hits).as_py():
            at = np.flatnonzero(hits.to_numpy())
            yield file.read_row_group(group, columns=["sample_id", *columns]).take(at).to_pylist()


def image_bytes(row: dict[str, Any]) -> bytes:
    """The encoded image of a row with ``bytes`` and ``uri``. Raises InputError when the uri cannot be
    read."""
    if row["bytes"] is not None:
        return bytes(row["bytes"])
    try:
        return Location.of(row["uri"]).read_bytes()
    except OSError as error:
        raise InputError(f"{row['uri']}: the lake refers to this image, but it cannot be read") from error
