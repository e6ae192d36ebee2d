"""Where images come from: a source is an ordered, repeatable stream of items, their bytes read on demand.

The order is the source's own and never depends on the machine, so that an interrupted ingest can go on
where it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ecos_core.errors import InputError
from ecos_core.lake.decode import MAX_FILE_BYTES, BadImage

IGNORED_NAMES = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})


@dataclass(frozen=True)
class SourceItem:
    """One candidate image.

    ``uri``: its address inside the source. ``stamp`` changes when the file does (size and time), where that
    is known without reading. ``load`` gives the bytes or raises BadImage or OSError; it may be called from
    any thread. ``source``, ``licence`` and ``attribution`` are the item's own, where the source knows them.
    """

    uri: str
    load: Callable[[], bytes]
    domain: str | None = None
    label: str | None = None
    stamp: str = ""
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None


@runtime_checkable
class Source(Protocol):
    """``name`` is recorded with every image unless the user gives another; ``address`` says where it is."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    def count(self) -> int | None:
        """How many items, if that is cheap to know."""
        ...

    def items(self) -> Iterator[SourceItem]:
        """All items in the source's order; may be called again."""
        ...


def refuse(reason: str, detail: str) -> Callable[[], bytes]:
    """A ``load`` for what is known to be bad before it is read."""

    def load() -> bytes:
        raise BadImage(reason, detail)

    return load


@dataclass(frozen=True)
class FolderSource:
    """A folder tree: ``domain/class/file``, ``class/file`` or flat. Links are followed, loops are reported.

    Hidden files and what operating systems leave behind are passed over; everything else is tried as an
    image.
    """

    root: Path
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.root.absolute().name or "images")

    @property
    def address(self) -> str:
        return str(self.root.absolute())

    def count(self) -> int | None:
        return sum(1 for _ in self.items())

    def items(self) -> Iterator[SourceItem]:
        yield from self._walk(self.root, (), frozenset())

    def _walk(
        self, folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]
    ) -> Iterator[SourceItem]:
        try:
            entry = folder.stat()
            names = sorted(os.fsdecode(entry.name) for entry in os.scandir(folder))
        except OSError as error:
            yield SourceItem(self._uri(parts), refuse("unreadable", f"folder: {error.strerror}"))
            return
        identity = (entry.st_dev, entry.st_ino)
        if identity in above:
            yield SourceItem(self._uri(parts), refuse("link_loop", "a link to a folder above itself"))
            return
        if "lake.json" in names:  # a lake that lies inside its own source
            return
        for name in names:
            if name.startswith(".") or name in IGNORED_NAMES:
                continue
            path = folder / name
            if path.is_dir():
                yield from self._walk(path, (*parts, name), above | {identity})
            else:
                yield self._file(path, (*parts, name))

    def _file(self, path: Path, parts: tuple[str, ...]) -> SourceItem:
        domain = parts[0] if len(parts) > 2 else None
        label = parts[-2] if len(parts) > 1 else None
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
        return SourceItem(uri, path.read_bytes, _text(domain), _text(label), stamp)

    def _uri(self, parts: tuple[str, ...]) -> str:
        return _text("/".join((self.name, *parts))) or ""


def _text(name: str | None) -> str | None:
    """File names are bytes; those that are no UTF-8 are kept with \\x escapes."""
    return None if name is None else os.fsencode(name).decode("utf-8", "backslashreplace")


def open_source(path_or_url: str | os.PathLike[str], name: str | None = None) -> Source:
    """The source that fits the address. Raises InputError when there is nothing, or nothing that is known."""
    path = Path(path_or_url).expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such folder or file; give a folder of images")
    if not path.is_dir():
        raise InputError(f"{path}: not a folder of images")
    try:
        next(path.iterdir(), None)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; choose another folder or fix its permissions") from error
    source = FolderSource(path, name or "")
    if next(source.items(), None) is None:
        raise InputError(f"{path}: no files in here; give a folder of images")
    return source
