"""Where samples come from, and how an address is told to be a folder, a tar, a table, documents or a known data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.lake.modality import Examine, examine_image
from ecos_core.lake.sources.base import Source, SourceItem
from ecos_core.lake.sources.columns import TableSource
from ecos_core.lake.sources.datasets import SPLITS, DigitsSource, DomainNetSource, pacs_source
from ecos_core.lake.sources.documents import document_source
from ecos_core.lake.sources.folder import BucketSource, FolderSource
from ecos_core.lake.sources.hub import pinned
from ecos_core.lake.sources.layouts import guess, shard_folders, shards
from ecos_core.lake.sources.row_files import ARROW, LINES, PARQUET
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
    ``LAYOUTS``; ``auto`` goes by the file's extension, or by all that lies in the folder (``sources.layouts``);
    ``parquet`` is any file of rows with images in it (Parquet, Arrow, JSON lines), ``text`` documents: a tree of
    texts, JSON lines or Parquet; ``rows`` a CSV whose rows are the samples. ``split`` (train, test) is for data sets
    with split lists, and for shards named after their split. ``hf://datasets/owner/name[@revision]`` is pinned to the
    commit of its revision.

    Raises InputError when there is nothing there, or nothing of that layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout '{layout}': unknown; one of {', '.join(LAYOUTS)}")
    if split is not None and split not in SPLITS:
        raise InputError(f"split '{split}': unknown; one of {', '.join(SPLITS)}")
    location, given = pinned(Location.of(path_or_url))
    _readable(location)
    chosen = guess(location) if layout == "auto" else layout
    source = _make(chosen, location, name or given or location.name or "images", split)
    if next((item for item in source.items() if item.passed_over is None), None) is None:
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
            f"{location}: no such folder or file; give a folder of images, a tar, Parquet, JSONL or CSV"
        )


def _make(layout: str, location: Location, name: str, split: str | None) -> Source:
    makers: dict[str, Callable[[], Source]] = {
        "webdataset": lambda: _tars(location, name, split),
        "parquet": lambda: _tables(location, name, split),
        "csv": lambda: TableSource(((location.name, location),), name, location.url),
        "domainnet": lambda: DomainNetSource(location.path, name, split),
        "domainnet-full": lambda: DomainNetSource(location.path, name, split, ten=False),
        "digits": lambda: DigitsSource(location.path, name, split),
        "pacs": lambda: pacs_source(location.path, name),
        "tree": lambda: _tree(location, name, examine_image),
        "text": lambda: document_source(location, name, split),
        "rows": lambda: RowSource(location, name),
    }
    return makers[layout]()


def _tars(location: Location, name: str, split: str | None) -> Source:
    found = shards(location, TAR_SUFFIXES, split)
    return TarSource(found.files, name, location.url, found.side)


def _tables(location: Location, name: str, split: str | None) -> Source:
    found = shards(location, (*PARQUET, *ARROW, *LINES), split)
    return TableSource(found.files, name, location.url, side=found.side)


def _tree(location: Location, name: str, examine: Examine) -> Source:
    if location.is_local and not location.path.is_dir():
        raise InputError(f"{location}: a file; give its folder, or choose the layout that its name says")
    folders, side = shard_folders(location)
    if location.is_local:
        return FolderSource(Path(location.path), name, examine, folders, side)
    return BucketSource(location, name, examine, folders, side)
