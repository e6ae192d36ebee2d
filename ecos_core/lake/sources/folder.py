"""Folder trees, local or in an object store: ``domain/class/file``, ``class/file`` or flat."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecos_core.lake.decode import MAX_FILE_BYTES
from ecos_core.lake.modality import Examine, examine_image
from ecos_core.lake.sources.base import SourceItem, domain_and_label, readable, refuse
from ecos_core.storage import Location

IGNORED_NAMES = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})


@dataclass(frozen=True)
class FolderSource:
    """A folder tree: ``domain/class/file``, ``class/file`` or flat. Links are followed, loops are reported.

    Hidden files and what operating systems leave behind are passed over; everything else is tried as what
    ``examine`` verifies, by default an image.
    """

    root: Path
    name: str = ""
    examine: Examine = examine_image

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.root.absolute().name or "images")

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return str(self.root.absolute())

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in self._walk(self.root, (), frozenset()))

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        root = self.root.absolute()
        for found in self._walk(root, (), frozenset()):
            yield found if isinstance(found, SourceItem) else self._file(root.joinpath(*found), found)

    def _walk(
        self, folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]
    ) -> Iterator[tuple[str, ...] | SourceItem]:
        """The parts of every file's path below the root, or an item that says what is wrong with a folder."""
        try:
            status = folder.stat()
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError as error:
            yield SourceItem(self._uri(parts), refuse("unreadable", f"folder: {error.strerror}"))
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            yield SourceItem(self._uri(parts), refuse("link_loop", "a link to a folder above itself"))
            return
        if ("lake.json", False) in found:  # a lake that lies inside its own source
            return
        for name, is_folder in found:
            if name.startswith(".") or name in IGNORED_NAMES:
                continue
            if is_folder:
                yield from self._walk(folder / name, (*parts, name), above | {identity})
            else:
                yield (*parts, name)

    def _file(self, path: Path, parts: tuple[str, ...]) -> SourceItem:
        domain, label = domain_and_label(parts)
        uri = self._uri(parts)
        try:
            status = path.stat()
        except OSError as error:
            return SourceItem(uri, refuse("unreadable", error.strerror or "cannot be opened"), domain, label)
        if not stat.S_ISREG(status.st_mode):
            return SourceItem(uri, refuse("unreadable", "not a regular file"), domain, label)
        if status.st_size > MAX_FILE_BYTES:
            return SourceItem(uri, refuse("too_large", f"{status.st_size:,} bytes"), domain, label)
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
        return SourceItem(uri, path.read_bytes, domain, label, stamp, address=str(path), examine=self.examine)

    def _uri(self, parts: tuple[str, ...]) -> str:
        return readable("/".join((self.name, *parts))) or ""


@dataclass(frozen=True)
class BucketSource:
    """The same tree under an object store's prefix, ``s3://bucket/photos``."""

    root: Location
    name: str
    examine: Examine = examine_image

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return self.root.url

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in self.items())

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        for found in self.root.walk():
            parts = tuple(found.name.split("/"))
            if any(part.startswith(".") or part in IGNORED_NAMES for part in parts):
                continue
            domain, label = domain_and_label(parts)
            place = self.root / found.name
            load = place.read_bytes
            if found.size > MAX_FILE_BYTES:
                load = refuse("too_large", f"{found.size:,} bytes")
            uri = f"{self.name}/{found.name}"
            yield SourceItem(uri, load, domain, label, found.stamp, address=place.url, examine=self.examine)
