"""How an address is told to be a tree of images, tars, tables of images, documents or rows.

A folder is judged by all that lies in it, nested folders too: side files (``_stats.json``, a ``.parquet`` beside its
``.tar``, README.md) do not change what it is, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ecos_core.errors import InputError
from ecos_core.lake.sources.columns import holds_texts
from ecos_core.lake.sources.members import IMAGE_SUFFIXES, is_about
from ecos_core.lake.sources.row_files import ARROW, CSV, LINES, PARQUET
from ecos_core.lake.sources.row_files import SUFFIXES as ROW_SUFFIXES
from ecos_core.lake.sources.webdataset import SUFFIXES as TAR_SUFFIXES
from ecos_core.storage import Location
from ecos_core.storage.folders import passed_over_path, walk_files

_LOOKED_AT = 20_000  # files: enough to tell what a folder is
_PAGES = (".html", ".htm", ".xml", ".svg", ".json", ".csv", ".tsv")
_STATS = "_stats.json"


@dataclass(frozen=True)
class Shards:
    """The files of a sharded data set, by name, and those beside them that hold no samples."""

    files: tuple[tuple[str, Location], ...]
    side: tuple[str, ...] = ()


def guess(location: Location) -> str:
    """The layout of an address. Raises InputError for a file of no known kind."""
    name = location.name.lower()
    if name.endswith(TAR_SUFFIXES):
        return "webdataset"
    if name.endswith(ROW_SUFFIXES):
        return _of_rows(location)
    if location.is_local and not location.path.is_dir():
        raise InputError(
            f"{location}: a file that is no list or archive; give its folder, or a tar, Parquet, JSONL or CSV"
        )
    return _of_folder(location)


def _of_rows(place: Location) -> str:
    if place.name.lower().endswith(CSV):
        return "csv"
    return "text" if holds_texts(place) else "parquet"


def _of_folder(location: Location) -> str:
    names = list(islice(names_below(location), _LOOKED_AT))
    kinds = Counter(_kind(name) for name in names)
    if kinds["image"]:
        return "tree"
    if kinds["tar"]:
        return "webdataset"
    tables = [name for name in names if _kind(name) in ("table", "lines") and not is_side(name, names)]
    if not tables:
        return "tree"
    return "text" if any(holds_texts(location / name) for name in tables[:3]) else "parquet"


def _kind(name: str) -> str:
    low = name.lower()
    if low.rpartition(".")[2] in IMAGE_SUFFIXES:
        return "image"
    if low.endswith(TAR_SUFFIXES):
        return "tar"
    if low.endswith((*PARQUET, *ARROW)):
        return "table"
    return "lines" if low.endswith(LINES) else "other"


def names_below(location: Location) -> Iterator[str]:
    """The names of all files below a folder that are not passed over."""
    if location.is_local:
        for entry in walk_files(location.path):
            if entry.left_out is None:
                yield "/".join(entry.parts)
        return
    for found in location.walk():
        if passed_over_path(found.name.split("/")) is None:
            yield found.name


def is_side(name: str, names: list[str]) -> bool:
    """Whether a file lies beside others as their statistics, list or attributes, or is about the whole."""
    folder, _, file = name.rpartition("/")
    low = file.lower()
    if is_about(file) or low.endswith(_STATS) or low in ("metadata.jsonl", "metadata.csv"):
        return True
    if low.endswith(PARQUET):  # img2dataset's list beside 00000.tar or the folder 00000/
        stem = name[: -len(PARQUET[0])]
        return any(other.startswith((f"{stem}/", f"{stem}.tar")) for other in names)
    # Dolma keeps attributes of documents in a tree of their own.
    return "attributes" in folder.split("/") and any("documents" in other.split("/") for other in names)


def shards(location: Location, suffixes: tuple[str, ...], split: str | None = None) -> Shards:
    """The file itself, or all files of those kinds below the folder, by name. ``split``: only those named after it.

    Raises InputError when there is none.
    """
    if location.name.lower().endswith(suffixes):
        return Shards(((location.name, location),))
    names = list(names_below(location))
    found = [name for name in names if name.lower().endswith(suffixes) and not is_side(name, names)]
    chosen = [name for name in found if split is None or _of_split(name, split)]
    if not chosen:
        which = f" of the split '{split}'" if split and found else ""
        raise InputError(f"{location}: no files{which} of that layout in here ({', '.join(suffixes[:3])})")
    rest = sorted(set(names) - set(chosen))
    return Shards(tuple((name, location / name) for name in chosen), tuple(rest))


def _of_split(name: str, split: str) -> bool:
    *folders, file = name.lower().split("/")
    return split in folders or file.startswith((f"{split}-", f"{split}_", f"{split}."))


def shard_folders(location: Location) -> tuple[frozenset[str], frozenset[str]]:
    """(folders, side files) of img2dataset's ``files`` output: ``00000/`` with ``00000_stats.json`` or ``.parquet``."""
    names = location.names()
    known = set(names)
    folders = {name for name in names if f"{name}{_STATS}" in known or f"{name}{PARQUET[0]}" in known}
    side = {f"{name}{end}" for name in folders for end in (_STATS, PARQUET[0])} & known
    return frozenset(folders), frozenset(side)


def text_files(location: Location) -> tuple[Shards | None, frozenset[str]]:
    """(files of records, side files) of a folder of documents; the rest is texts of their own."""
    names = list(names_below(location))
    records = [
        name
        for name in names
        if name.lower().endswith((*PARQUET, *ARROW, *LINES)) and not is_side(name, names)
    ]
    side = {name for name in names if is_side(name, names)} | set(records)
    found = Shards(tuple((name, location / name) for name in records)) if records else None
    return found, frozenset(side)


def is_page(name: str) -> bool:
    """Whether a file of a tree of texts is markup or data and no text."""
    return name.lower().endswith(_PAGES)
