"""Where samples come from, and how an address is told to be a folder, a tar, a table or a known data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.lake.modality import Examine, examine_image, examine_text
from ecos_core.lake.sources.base import Source, SourceItem
from ecos_core.lake.sources.columns import CsvSource, ParquetSource
from ecos_core.lake.sources.datasets import SPLITS, DigitsSource, DomainNetSource, pacs_source
from ecos_core.lake.sources.folder import BucketSource, FolderSource
from ecos_core.lake.sources.rows import RowSource
from ecos_core.lake.sources.webdataset import SUFFIXES as TAR_SUFFIXES
from ecos_core.lake.sources.webdataset import TarSource
from ecos_core.storage import Location

__all__ = ["LAYOUTS", "Source", "SourceItem", "open_source"]

LAYOUTS = (
    "auto",
    "tree",
    "webdataset",
    "parquet",
    "csv",
    "domainnet",
    "domainnet-full",
    "digits",
    "pacs",
    "text",
    "rows",
)


def open_source(
    path_or_url: str | os.PathLike[str],
    name: str | None = None,
    *,
    layout: str = "auto",
    split: str | None = None,
) -> Source:
    """The source at an address.

    ``name`` goes before every origin (default: the last part of the address). ``layout`` is one of
    ``LAYOUTS``; ``auto`` goes by the file's extension, and takes a folder of nothing but tars or Parquet
    files for a sharded data set; ``text`` is a tree of texts instead of images, ``rows`` a CSV whose rows are
    the samples. ``split`` (train, test) is for data sets with split lists.

    Raises InputError when there is nothing there, or nothing of that layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout '{layout}': unknown; one of {', '.join(LAYOUTS)}")
    if split is not None and split not in SPLITS:
        raise InputError(f"split '{split}': unknown; one of {', '.join(SPLITS)}")
    location = Location.of(path_or_url)
    _readable(location)
    chosen = _guess(location) if layout == "auto" else layout
    source = _make(chosen, location, name or location.name or "images", split)
    if next(source.items(), None) is None:
        raise InputError(f"{location}: no files in here; give a folder of images")
    return source


def _readable(location: Location) -> None:
    try:
        exists = location.exists()
        if exists and location.is_local and location.path.is_dir():
            next(location.path.iterdir(), None)
    except OSError as error:
        raise InputError(
            f"{location}: {error.strerror}; choose another folder or fix its permissions"
        ) from error
    if not exists:
        raise InputError(
            f"{location}: no such folder or file; give a folder of images, a tar, Parquet or CSV"
        )


def _guess(location: Location) -> str:
    for layout, suffixes in (("webdataset", TAR_SUFFIXES), ("parquet", (".parquet",)), ("csv", (".csv",))):
        if location.name.lower().endswith(suffixes):
            return layout
        names = location.names() if layout != "csv" else []
        if names and all(name.lower().endswith(suffixes) for name in names if not name.startswith(".")):
            return layout
    if location.is_local and not location.path.is_dir():
        raise InputError(
            f"{location}: a file that is no list or archive; give its folder, or a tar, Parquet or CSV"
        )
    return "tree"


def _make(layout: str, location: Location, name: str, split: str | None) -> Source:
    makers: dict[str, Callable[[], Source]] = {
        "webdataset": lambda: TarSource(_shards(location, TAR_SUFFIXES), name, location.url),
        "parquet": lambda: ParquetSource(_shards(location, (".parquet",)), name, location.url),
        "csv": lambda: CsvSource(location, name),
        "domainnet": lambda: DomainNetSource(location.path, name, split),
        "domainnet-full": lambda: DomainNetSource(location.path, name, split, ten=False),
        "digits": lambda: DigitsSource(location.path, name, split),
        "pacs": lambda: pacs_source(location.path, name),
        "tree": lambda: _tree(location, name, examine_image),
        "text": lambda: _tree(location, name, examine_text),
        "rows": lambda: RowSource(location, name),
    }
    return makers[layout]()


def _tree(location: Location, name: str, examine: Examine) -> Source:
    if location.is_local:
        return FolderSource(Path(location.path), name, examine)
    return BucketSource(location, name, examine)


def _shards(location: Location, suffixes: tuple[str, ...]) -> tuple[Location, ...]:
    """The file itself, or the files of that kind in the folder, by name."""
    if location.name.lower().endswith(suffixes):
        return (location,)
    return tuple(location / name for name in location.names() if name.lower().endswith(suffixes))
