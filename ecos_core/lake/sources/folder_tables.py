"""Tables that lie in a folder of pictures and say what they are: Hugging Face's ``metadata.jsonl`` and ``.csv``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecos_core.errors import EcosError
from ecos_core.lake.sources.facts import Columns, Facts
from ecos_core.names import tidy
from ecos_core.storage import Location
from ecos_core.storage.csv_files import open_csv
from ecos_core.storage.text import read_text, text_lines

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
_NAME_COLUMNS = ("file_name", "filename", "image", "path", "file")


@dataclass
class FolderTables:
    """The tables of a tree, each read when its folder is reached; the last few folders' are kept."""

    root: Location
    _known: dict[tuple[str, ...], Mapping[str, Facts]] = field(default_factory=dict)

    def has(self, parts: Sequence[str]) -> bool:
        """Whether the file's folder has a table that names files."""
        return bool(self._of(tuple(parts[:-1])))

    def facts(self, name: str) -> Facts | None:
        """What the nearest table above says of a file."""
        parts = tuple(name.split("/"))
        for depth in range(len(parts) - 1, -1, -1):
            table = self._of(parts[:depth])
            if table and (found := table.get(tidy("/".join(parts[depth:])))) is not None:
                return found
        return None

    def _of(self, folder: tuple[str, ...]) -> Mapping[str, Facts]:
        if folder not in self._known:
            for old in [old for old in self._known if old != folder[: len(old)]]:
                del self._known[old]
            self._known[folder] = self._read(folder)
        return self._known[folder]

    def _read(self, folder: tuple[str, ...]) -> Mapping[str, Facts]:
        place = self.root
        for part in folder:
            place = place / part
        for name in METADATA_NAMES:
            try:
                if (place / name).exists():
                    return dict(
                        _named(
                            _json_rows(place / name) if name.endswith("jsonl") else _csv_rows(place / name)
                        )
                    )
            except (EcosError, OSError):
                continue
        return {}


def _named(rows: Iterator[Mapping[str, Any]]) -> Iterator[tuple[str, Facts]]:
    for row in rows:
        column = next((name for name in _NAME_COLUMNS if isinstance(row.get(name), str)), None)
        if column is not None:
            yield tidy(str(row[column]).removeprefix("./")), Columns.of(row, (column,)).facts(row)


def _json_rows(place: Location) -> Iterator[Mapping[str, Any]]:
    for line in text_lines(read_text(place)):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def _csv_rows(place: Location) -> Iterator[Mapping[str, Any]]:
    with open_csv(place) as rows:
        for row in rows:
            yield {name: cell for name, cell in row.items() if name is not None}
