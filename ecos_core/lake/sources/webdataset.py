"""WebDataset tars: consecutive members with one key are a sample, ``key.jpg`` + ``key.cls`` / ``key.json``.

Tars of ordinary folder trees work too: without ``.cls`` or ``.json`` the member's path gives domain and
class.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, BinaryIO

from ecos_core.lake.decode import MAX_FILE_BYTES
from ecos_core.lake.sources.base import SourceItem, domain_and_label, nonempty, refuse
from ecos_core.storage import Location

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXT_PARTS = frozenset({"cls", "json", "txt", "text", "caption"})
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    load: Callable[[], bytes]

    @property
    def key(self) -> str:
        """The path up to the first dot of the file's name."""
        folder, slash, file = self.name.rpartition("/")
        return folder + slash + file.partition(".")[0]

    @property
    def part(self) -> str:
        return self.name.rpartition("/")[2].partition(".")[2].lower()


@dataclass(frozen=True)
class TarSource:
    """One or several tars, read in the order given; a tar cut short is reported after its last member."""

    tars: tuple[Location, ...]
    name: str
    address: str

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return None

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        for tar in self.tars:
            yield from self._one(tar)

    def _one(self, tar: Location) -> Iterator[SourceItem]:
        uri = f"{self.name}/{tar.name}"
        faults: list[str] = []
        for _, members in groupby(_members(tar, faults), key=lambda member: member.key):
            yield from _sample(uri, list(members))
        for fault in faults:
            yield SourceItem(uri, refuse("corrupt", fault))


def _members(tar: Location, faults: list[str]) -> Iterator[_Member]:
    """Regular members in order. What ends the reading early is appended to ``faults``."""
    count = 0
    with tar.open_input() as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*") as archive:
                for info in archive:
                    name = info.name.removeprefix("./")
                    if not info.isreg() or name.rpartition("/")[2].startswith("."):
                        continue
                    yield _Member(name, info.size, _read(archive, info))
                    count += 1
                if not _ends_well(file, archive):
                    faults.append(f"the tar is cut short after {count} members")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            faults.append(f"the tar is cut short or broken after {count} members ({error})"[:200])


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], bytes]:
    """The member's bytes, read now: the stream does not come back."""
    if info.size > MAX_FILE_BYTES:
        return refuse("too_large", f"{info.size:,} bytes")
    opened = archive.extractfile(info)
    data = opened.read() if opened is not None else b""
    if len(data) != info.size:
        raise tarfile.ReadError("unexpected end of data")
    return lambda: data


def _ends_well(file: BinaryIO, archive: tarfile.TarFile) -> bool:
    """Whether an uncompressed tar has its closing block of zeros; tarfile takes a missing one for the end."""
    file.seek(0)
    if file.read(2) == b"\x1f\x8b":
        return True  # gzip has an end of its own
    file.seek(archive.offset)
    return file.read(_BLOCK) == bytes(_BLOCK) or archive.offset == 0


def _sample(uri: str, members: list[_Member]) -> Iterator[SourceItem]:
    """One item for each member that can be an image; a sample without any is reported."""
    images = [member for member in members if member.part.rpartition(".")[2] not in _TEXT_PARTS]
    meta = _metadata(members)
    for member in images:
        domain, label = domain_and_label(member.name.split("/"))
        yield SourceItem(
            f"{uri}/{member.name}",
            member.load,
            meta.get("domain") or domain,
            meta.get("label") or label,
            str(member.size),
            meta.get("source"),
            meta.get("licence"),
            meta.get("attribution"),
        )
    if not images:
        yield SourceItem(f"{uri}/{members[0].key}", refuse("not_an_image", "a sample without an image"))


def _metadata(members: list[_Member]) -> dict[str, str | None]:
    """What ``.cls`` and ``.json`` say; a broken one counts as absent."""
    found: dict[str, Any] = {}
    for member in members:
        try:
            if member.part == "json":
                read = json.loads(member.load())
                found |= read if isinstance(read, dict) else {}
            elif member.part == "cls":
                found["cls"] = member.load().decode("utf-8", "replace")
        except ValueError:
            continue
    first = partial(_first, found)
    return {
        "domain": first("domain"),
        "label": first("cls", "label", "class", "class_name"),
        "source": first("source"),
        "licence": first("licence", "license"),
        "attribution": first("attribution", "author", "creator"),
    }


def _first(found: dict[str, Any], *names: str) -> str | None:
    values = (nonempty(found.get(name)) for name in names)
    return next((value for value in values if value is not None), None)
