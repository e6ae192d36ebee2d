"""Folder trees, local or in an object store: ``domain/class/file``, ``class/file`` or flat.

Beside a picture may lie what is known of it: ``key.json``, ``key.cls`` and ``key.txt`` (img2dataset's files), or one
``metadata.jsonl`` or ``metadata.csv`` a folder with a column ``file_name`` (Hugging Face's imagefolder).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ecos_core.lake.decode import MAX_FILE_BYTES
from ecos_core.lake.modality import Examine, examine_image
from ecos_core.lake.sources.base import SourceItem, domain_and_label, passed, refuse
from ecos_core.lake.sources.folder_tables import METADATA_NAMES, FolderTables
from ecos_core.lake.sources.members import Member, is_about, sample_items
from ecos_core.names import readable
from ecos_core.storage import Location
from ecos_core.storage.folders import ON_PURPOSE, Entry, passed_over_path, walk_files

_REFUSALS = {"loop": "link_loop"}


@dataclass(frozen=True)
class FolderSource:
    """A folder tree: ``domain/class/file``, ``class/file`` or flat. Links are followed, loops are reported.

    Hidden files and what operating systems leave behind are passed over; everything else is tried as what
    ``examine`` verifies, by default an image. ``shards``: top folders that are numbers of shards and no classes.
    """

    root: Path
    name: str = ""
    examine: Examine = examine_image
    shards: frozenset[str] = frozenset()
    side: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.root.absolute().name or "images")

    @property
    def address(self) -> str:
        """The folder."""
        return readable(str(self.root.absolute()))

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in walk_files(self.root))

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        root = Location.of(self.root)
        tree = _Tree(root, readable(self.name), self.examine, self.shards, self.side)
        yield from tree.items(map(self._file, walk_files(self.root.absolute())))

    def _file(self, entry: Entry) -> _File:
        path = self.root.absolute().joinpath(*entry.parts)
        if entry.left_out is not None:
            return _File(entry.parts, left_out=entry.left_out, detail=entry.detail)
        try:
            status = path.stat()
        except OSError as error:
            return _File(entry.parts, left_out="unreadable", detail=error.strerror or "cannot be opened")
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
        return _File(entry.parts, Location(str(path)), status.st_size, stamp)


@dataclass(frozen=True)
class BucketSource:
    """The same tree under an object store's prefix, ``s3://bucket/photos``."""

    root: Location
    name: str
    examine: Examine = examine_image
    shards: frozenset[str] = frozenset()
    side: frozenset[str] = frozenset()

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return self.root.url

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in self.root.walk())

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        tree = _Tree(self.root, self.name, self.examine, self.shards, self.side)
        yield from tree.items(self._files())

    def _files(self) -> Iterator[_File]:
        for found in self.root.walk():
            parts = tuple(found.name.split("/"))
            over = passed_over_path(parts)
            yield _File(parts, self.root / found.name, found.size, found.stamp, over)


@dataclass(frozen=True)
class _File:
    """A file of a tree by its path's parts; with ``left_out`` one that is not read, and why."""

    parts: tuple[str, ...]
    place: Location | None = None
    size: int = 0
    stamp: str = ""
    left_out: str | None = None
    detail: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """Files of one key belong together."""
        return (*self.parts[:-1], self.parts[-1].partition(".")[0] if self.parts else "")


@dataclass(frozen=True)
class _Tree:
    """Turns the files of a tree into items."""

    root: Location
    name: str
    examine: Examine
    shards: frozenset[str]
    side: frozenset[str]
    tables: FolderTables = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", FolderTables(self.root))

    def items(self, files: Iterable[_File]) -> Iterator[SourceItem]:
        for _, group in groupby(files, key=lambda file: file.key):
            members: list[Member] = []
            for file in group:
                item = self._alone(file)
                if item is None:
                    assert file.place is not None
                    load = file.place.read_bytes
                    members.append(Member("/".join(file.parts), load, file.stamp, file.place.url))
                else:
                    yield item
            if self.examine is examine_image and len(members) > 1:
                yield from self._together(members)
            else:
                yield from map(self._single, members)

    def _alone(self, file: _File) -> SourceItem | None:
        """The item of a file that is no sample, or None."""
        uri = readable("/".join((self.name, *file.parts)))
        if file.left_out is not None and file.left_out in ON_PURPOSE:
            return passed(uri, file.left_out)
        if file.left_out is not None:
            return SourceItem(uri, refuse(_REFUSALS.get(file.left_out, "unreadable"), file.detail))
        if file.size > MAX_FILE_BYTES:
            return SourceItem(uri, refuse("too_large", f"{file.size:,} bytes"), *domain_and_label(file.parts))
        if "/".join(file.parts) in self.side or is_about(file.parts[-1]):
            return passed(uri, "side")
        if (
            self.examine is examine_image
            and file.parts[-1].lower() in METADATA_NAMES
            and self.tables.has(file.parts)
        ):
            return passed(uri, "side")
        return None

    def _together(self, members: list[Member]) -> Iterator[SourceItem]:
        if not any(member.suffix in ("json", "txt", "cls", "text", "caption") for member in members):
            yield from map(self._single, members)
            return
        facts = self.tables.facts(members[0].name)
        yield from sample_items(
            self.name, members, facts=facts, with_folder=self._names_class(members[0].name)
        )

    def _single(self, member: Member) -> SourceItem:
        uri = readable(f"{self.name}/{member.name}")
        domain, label = (None, None)
        if self._names_class(member.name):
            domain, label = domain_and_label(member.name.split("/"))
        facts = self.tables.facts(member.name) if self.examine is examine_image else None
        if facts is None:
            return SourceItem(
                uri, member.load, domain, label, member.stamp, address=member.address, examine=self.examine
            )
        known = facts.item() | {"domain": facts.domain or domain, "label": facts.label or label}
        return SourceItem(
            uri, member.load, stamp=member.stamp, address=member.address, examine=self.examine, **known
        )

    def _names_class(self, name: str) -> bool:
        """Whether the file's folder is a class: no shard, and no split with a table of its own."""
        folders = name.split("/")[:-1]
        return bool(folders) and folders[-1] not in self.shards and not self.tables.has((*folders, ""))
