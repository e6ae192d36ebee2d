"""WebDataset tars: consecutive members with one key are a sample, ``key.jpg`` + ``key.cls`` / ``key.json``.

Tars of ordinary folder trees work too: without ``.cls`` or ``.json`` the member's path gives domain and
class.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.lake.decode import MAX_FILE_BYTES
from ecos_core.lake.sources.base import SourceItem, passed, refuse
from ecos_core.lake.sources.members import Member, is_about, sample_items
from ecos_core.names import readable
from ecos_core.storage import Location
from ecos_core.storage.folders import passed_over_path

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class TarSource:
    """One or several tars, read in the order given; a tar cut short is reported after its last member.

    ``tars``: the name of each in the source and where it is. ``side``: files of the data set that hold no samples.
    """

    tars: tuple[tuple[str, Location], ...]
    name: str
    address: str
    side: tuple[str, ...] = ()

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return None

    def items(self) -> Iterator[SourceItem]:
        """Every member of the tars that is a sample, in their order."""
        yield from (passed(readable(f"{self.name}/{name}"), "side") for name in self.side)
        for name, tar in self.tars:
            yield from self._one(name, tar)

    def _one(self, name: str, tar: Location) -> Iterator[SourceItem]:
        uri = readable(f"{self.name}/{name}")
        faults: list[str] = []
        for over, group in groupby(_members(tar, faults), key=_kind):
            if isinstance(over, str):
                yield from (passed(readable(f"{uri}/{member.name}"), over) for member in group)
                continue
            for _, members in groupby(group, key=lambda member: member.key):
                yield from sample_items(uri, list(members))
        for fault in faults:
            yield SourceItem(uri, refuse("corrupt", fault))


def _kind(member: Member) -> str | bool:
    """Why a member is passed over, or False."""
    parts = member.name.split("/")
    return passed_over_path(parts) or ("side" if is_about(parts[-1]) else False)


def _members(tar: Location, faults: list[str]) -> Iterator[Member]:
    """Regular members in order. What ends the reading early is appended to ``faults``."""
    count = 0
    try:
        with tar.open_input() as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for info in archive:
                if not info.isreg():
                    continue
                stamp = f"{info.size}-{int(info.mtime)}"
                yield Member(info.name.removeprefix("./"), _read(archive, info), stamp)
                count += 1
            if not _ends_well(file, archive):
                faults.append(f"the tar is cut short after {count} members")
    except MissingDependencyError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, InputError) as error:
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
    if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
        return True  # gzip, bzip2 and xz have an end of their own
    file.seek(archive.offset)
    return file.read(_BLOCK) == bytes(_BLOCK) or archive.offset == 0
