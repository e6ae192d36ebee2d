"""Features of some samples, for the label check, from Parquet files with ``sample_id`` and ``feature``."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.storage import Location


def read_features(
    where: str | PathLike[str] | Location, wanted: frozenset[str]
) -> tuple[list[str], NDArray[np.float32]]:
    """The wanted samples found there, [n] ids, and their features, [n, d]. ``where`` is a file or a folder of
    them.

    Raises InputError when there is none of them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    location = Location.of(where)
    files = (
        [location] if location.name.endswith(".parquet") else [location / name for name in location.names()]
    )
    ids: list[str] = []
    parts: list[NDArray[Any]] = []
    values = pa.array(sorted(wanted), pa.string())
    for file in (file for file in files if file.name.endswith(".parquet")):
        table = _table(file)
        table = table.filter(pc.is_in(table["sample_id"], value_set=values))
        if table.num_rows:
            ids += table["sample_id"].to_pylist()
            column = table["feature"].combine_chunks()
            parts.append(column.flatten().to_numpy().reshape(table.num_rows, -1).astype(np.float32))
    if not ids:
        raise InputError(
            f"{location}: no features of the labelled samples here; run  ecos index  on the lake"
        )
    return ids, np.concatenate(parts)


def _table(file: Location) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with file.open_input() as opened:
            return pq.read_table(opened, columns=["sample_id", "feature"])
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: not a Parquet file with sample_id and feature") from error
