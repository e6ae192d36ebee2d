"""From a row of a table to numbers: standardised, or one coordinate a value, by the lake's statistics only.

The statistics are fitted on the public lake, kept while it grows, and travel to the client with the extractor;
nothing is ever fitted on the client's rows. A cell that is missing, or a value that the lake does not know, gives 0
in all its coordinates, which is the lake's mean of a number.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ecos_core.errors import InputError
from ecos_core.lake.modality import TABLE, Cell, Modality, read_row

MAX_VALUES = 64
MAX_DEVIATIONS = 5.0


class Column(BaseModel):
    """One column: a number with the lake's ``mean`` and ``deviation``, or a word with the lake's ``values``."""

    model_config = ConfigDict(frozen=True)

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    values: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers that the column becomes: one, or one a value."""
        return len(self.values) or 1

    def encode(self, cell: Cell) -> NDArray[np.float32]:
        """float32 [width]: deviations from the mean, cut at ±5, or 1 at the value's place."""
        out = np.zeros(self.width, np.float32)
        if self.values:
            if (word := _word(cell)) in self.values:
                out[self.values.index(word)] = 1.0
        elif isinstance(cell, int | float):
            out[0] = np.clip((cell - self.mean) / self.deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
        return out


class TablePreprocessing(BaseModel):
    """The columns of a table, in the order of their names; a part of the fingerprint."""

    model_config = ConfigDict(frozen=True)
    modality: ClassVar[Modality] = TABLE

    columns: tuple[Column, ...]
    kind: Literal["table"] = Field("table", serialization_alias="modality", validation_alias="modality")

    @property
    def dimension(self) -> int:
        """Numbers that a row becomes."""
        return sum(column.width for column in self.columns)

    def describe(self) -> dict[str, Any]:
        """Everything that the fingerprint depends on, as JSON."""
        return self.model_dump(mode="json", by_alias=True)

    def files(self) -> dict[str, bytes]:
        """What is kept beside the description: name -> bytes."""
        return {}

    def example(self) -> NDArray[np.float32]:
        """A prepared row: the lake's mean."""
        return np.zeros(self.dimension, np.float32)

    def prepare(self, data: bytes) -> NDArray[np.float32]:
        """float32 [dimension]; columns that the lake has not are ignored. Raises ``lake.decode.BadSample``."""
        row = read_row(data)
        return np.concatenate([column.encode(row.get(column.name)) for column in self.columns])


def fit_columns(rows: Callable[[], Iterable[bytes]]) -> TablePreprocessing:
    """Means, deviations and the most frequent 64 values of each column of a lake's rows, in two passes over ``rows()``.

    A column is a number's when every cell that is not missing is one. Columns with a single value say nothing and are
    left out. Raises InputError when none is left.
    """
    worded = {name for data in rows() for name, cell in read_row(data).items() if isinstance(cell, str)}
    numbers: dict[str, _Moments] = defaultdict(_Moments)
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for data in rows():
        for name, cell in read_row(data).items():
            if name in worded and cell is not None:
                words[name][_word(cell)] += 1
            elif isinstance(cell, int | float):
                numbers[name].add(float(cell))
    columns = [
        Column(name=name, mean=moments.mean, deviation=moments.deviation)
        for name, moments in numbers.items()
        if moments.deviation > 0
    ]
    columns += [
        Column(name=name, values=_most_frequent(counts)) for name, counts in words.items() if len(counts) > 1
    ]
    if not columns:
        raise InputError(
            "the table's columns have one value each: there is nothing to tell its rows apart by"
        )
    return TablePreprocessing(columns=tuple(sorted(columns, key=lambda column: column.name)))


def _most_frequent(counts: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(sorted(counts, key=lambda word: (-counts[word], word))[:MAX_VALUES]))


class _Moments:
    """Mean and deviation in one pass (Welford 1962)."""

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        change = value - self.mean
        self.mean += change / self.count
        self._squares += change * (value - self.mean)

    @property
    def deviation(self) -> float:
        return math.sqrt(self._squares / self.count)


def _word(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell:g}" if cell is not None else ""


class ColumnsEngine:
    """No network: the prepared row is the feature."""

    name = "columns"
    device = "cpu"
    parallel = True

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """The prepared rows themselves."""
        return prepared
