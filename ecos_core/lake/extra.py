"""Columns that a crawler wrote (NSFW, watermark, similarity, caption, url, …), kept beside the samples of a shard.

In a shard a column is ``extra_<name>``: booleans, int64, float64 or text, whichever holds all its values there; a
shard without a value has no such column. Two shards may disagree about a column's type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ecos_core.lake.sources.facts import Extra

PREFIX = "extra_"
MOST_COLUMNS = 128


def extra_columns(rows: Sequence[Mapping[str, Extra]]) -> dict[str, Any]:
    """The columns of a shard's rows by their name in the shard, as Arrow arrays.

    At most 128: the names that most rows have, equal ones by name.
    """
    counts = Counter(name for row in rows for name in row)
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_COLUMNS]
    return {PREFIX + name: _column([row.get(name) for row in rows]) for name in sorted(kept)}


def _column(values: Sequence[Extra | None]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
