"""One folder of a mailbox, handled as a place that strangers can write to.

What counts as a letter: a regular file named by 64 hex digits and ``.ecos``, no larger than a limit. Links are never
followed, pipes and devices never opened for reading, everything else is passed over. A folder on this machine is
opened once for each use and worked in by its descriptor, so it cannot be swapped for a link meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from ecos_core.client.faults import TooLargeError
from ecos_core.errors import InputError
from ecos_core.storage import Location

SUFFIX = ".ecos"
LETTER = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class NoLetterError(InputError):
    """Something of a letter's name that is no regular file."""


class Postbox(ABC):
    """``requests`` or ``answers``. Every method raises InputError when the folder itself is a link or a file."""

    @abstractmethod
    def letters(self) -> dict[str, str]:
        """Names of what may be letters, sorted, and a stamp that changes with the content; empty without a
        folder."""

    @abstractmethod
    def read(self, name: str, limit: int) -> bytes:
        """At most ``limit`` bytes. Raises FileNotFoundError, TooLargeError, NoLetterError."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether anything lies there."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """All of it or nothing, whatever lay there. Raises InputError, OSError."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Absent is fine."""


def postbox(place: Location, name: str) -> Postbox:
    """The folder ``name`` of the mailbox at ``place``."""
    if place.is_local:
        return _LocalPostbox(place.path / name)
    if place.url.startswith("local://"):
        raise InputError(f"mailbox {place}: write a folder of this machine as a plain path")
    return _StorePostbox(place / name)


class _LocalPostbox(Postbox):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def letters(self) -> dict[str, str]:
        try:
            with self._opened() as folder, os.scandir(folder) as entries:
                found = sorted(entry.name for entry in entries if LETTER.fullmatch(entry.name))
                return {name: _stamp(folder, name) for name in found}
        except FileNotFoundError:
            return {}

    def read(self, name: str, limit: int) -> bytes:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | _NO_LINK
        with self._opened() as folder:
            if not stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode):
                raise NoLetterError("not a regular file")
            try:
                descriptor = os.open(name, flags, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):
                    raise NoLetterError("not a regular file") from error
                raise
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NoLetterError("not a regular file")
            return _at_most(file.read(limit + 1) if status.st_size <= limit else None, limit)

    def has(self, name: str) -> bool:
        try:
            with self._opened() as folder:
                os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = f".tmp-{secrets.token_hex(16)}"
        with self._opened() as folder:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666, dir_fd=folder
            )
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._opened() as folder:
            os.unlink(name, dir_fd=folder)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | _NO_LINK)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise InputError(
                    f"{self._folder}: a link or a file where a mailbox has a folder; remove it"
                ) from error
            raise
        try:
            yield folder
        finally:
            os.close(folder)


class _StorePostbox(Postbox):
    """Below an fsspec address: an object store knows no links, and a listing tells sizes."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    def letters(self) -> dict[str, str]:
        try:
            return {file.name: file.stamp for file in self._folder.walk() if LETTER.fullmatch(file.name)}
        except FileNotFoundError:
            return {}

    def read(self, name: str, limit: int) -> bytes:
        where = self._folder / name
        if where.size() > limit:
            raise TooLargeError(limit)
        try:
            with where.open_input() as file:
                return _at_most(file.read(limit + 1), limit)
        except IsADirectoryError as error:
            raise NoLetterError("not a file") from error

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def write(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)

    def remove(self, name: str) -> None:
        (self._folder / name).remove()


def _stamp(folder: int, name: str) -> str:
    try:
        status = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return "gone"
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def _at_most(content: bytes | None, limit: int) -> bytes:
    if content is None or len(content) > limit:
        raise TooLargeError(limit)
    return content
