"""A folder at a local path or an fsspec URL (``s3://bucket/key``), with writes that are whole or absent.

Local writes go to a temporary name in the same folder, are fsynced, renamed, and the folder is fsynced; an
object store's PUT is atomic by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from ecos_core.errors import InputError, MissingDependencyError, RemoteError

TEMPORARY_PREFIX = ".tmp-"


@dataclass(frozen=True)
class Found:
    """A file: its name below the folder asked for, its bytes, what changes with it, and when (unix time)."""

    name: str
    size: int
    stamp: str
    modified: float


@dataclass(frozen=True)
class Location:
    """One folder or file. ``Location.of("lake") / "images" / "HEAD"``."""

    url: str

    @classmethod
    def of(cls, url: str | os.PathLike[str] | Location) -> Location:
        """Accept a path, a URL or a location. Local paths become absolute."""
        if isinstance(url, Location):
            return url
        text = os.fspath(url)
        if text.lower().startswith("file:"):
            text = _local_path(text)
        if "://" in text:
            return cls(text.rstrip("/"))
        return cls(str(Path(text).expanduser().absolute()))

    def __truediv__(self, name: str) -> Location:
        return Location(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk."""
        return "://" not in self.url

    @property
    def path(self) -> Path:
        """The local path. Raises InputError for a remote location."""
        if not self.is_local:
            raise InputError(f"{self.url}: a local folder is needed here")
        return Path(self.url)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        protocol = self.url.split("://", 1)[0]
        try:
            filesystem, path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise MissingDependencyError(
                {"s3": "s3fs", "gs": "gcsfs"}.get(protocol, protocol), "cloud"
            ) from error
        except ValueError as error:
            raise InputError(f"{self.url}: unknown storage '{protocol}://'") from error
        return filesystem, path

    def exists(self) -> bool:
        """Whether there is a file or folder here."""
        if self.is_local:
            return self.path.exists()
        filesystem, path = self._remote
        filesystem.invalidate_cache()
        with _remote_errors(self.url):
            return bool(filesystem.exists(path))

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError when there is nothing here."""
        if self.is_local:
            return self.path.read_bytes()
        filesystem, path = self._remote
        with _remote_errors(self.url):
            return bytes(filesystem.cat_file(path))

    def open_input(self) -> BinaryIO:
        """A seekable binary file to read from."""
        if self.is_local:
            return self.path.open("rb")
        filesystem, path = self._remote
        with _remote_errors(self.url):
            opened: BinaryIO = filesystem.open(path, "rb")
            return opened

    def write_bytes(self, data: bytes) -> None:
        """Write all of ``data`` or nothing. Raises InputError on a full or read-only disk."""
        if self.is_local:
            _write_local(self.path, data)
            return
        filesystem, path = self._remote
        try:
            with _remote_errors(self.url):
                filesystem.pipe_file(path, data)
        except FileNotFoundError as error:
            raise InputError(f"{self.url}: no such bucket; make it first, or check the address") from error

    def make_folder(self) -> None:
        """Make the folder and its parents; object stores have none."""
        if self.is_local:
            with _disk_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Sorted names in this folder, temporary files left out; empty when the folder is absent."""
        if self.is_local:
            if not self.path.is_dir():
                return []
            found = [entry.name for entry in self.path.iterdir()]
        else:
            filesystem, path = self._remote
            filesystem.invalidate_cache()
            try:
                with _remote_errors(self.url):
                    listed = filesystem.ls(path, detail=False)
            except FileNotFoundError:
                return []
            found = [entry.rstrip("/").rsplit("/", 1)[-1] for entry in listed]
        return sorted(name for name in found if not name.startswith(TEMPORARY_PREFIX))

    def walk(self) -> Iterator[Found]:
        """All files below this folder, temporary ones too, sorted by name; nothing where it is absent."""
        if self.is_local:
            for file in sorted(file for file in self.path.rglob("*") if file.is_file()):
                status = file.stat()
                stamp = f"{status.st_size}-{status.st_mtime_ns}"
                yield Found(file.relative_to(self.path).as_posix(), status.st_size, stamp, status.st_mtime)
            return
        filesystem, path = self._remote
        filesystem.invalidate_cache()
        with _remote_errors(self.url):
            listed = filesystem.find(path, detail=True)
        for full in sorted(listed):
            name, facts = full[len(path) :].strip("/"), listed[full]
            if name and facts.get("type") == "file":
                modified = facts.get("LastModified")
                stamp = _stamp(facts)
                seconds = modified.timestamp() if hasattr(modified, "timestamp") else 0.0
                yield Found(name, int(facts.get("size") or 0), stamp, seconds)

    def size(self) -> int:
        """Bytes in this file."""
        if self.is_local:
            return self.path.stat().st_size
        filesystem, path = self._remote
        with _remote_errors(self.url):
            return int(filesystem.size(path))

    def stamp(self) -> str:
        """What changes with this file: its size and its time, or the store's tag."""
        if self.is_local:
            status = self.path.stat()
            return f"{status.st_size}-{status.st_mtime_ns}"
        filesystem, path = self._remote
        with _remote_errors(self.url):
            return _stamp(filesystem.info(path))

    def remove(self) -> None:
        """Remove this file; absent is fine."""
        if self.is_local:
            self.path.unlink(missing_ok=True)
            return
        filesystem, path = self._remote
        with contextlib.suppress(FileNotFoundError), _remote_errors(self.url):
            filesystem.rm_file(path)


def _local_path(uri: str) -> str:
    """The path of a ``file:`` address: ``file:///a%20b``, ``file://localhost/a`` or ``file:/a``."""
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = f"{slash}{path}" if host.lower() in ("", "localhost") else rest[2:]
    return rest if Path(rest).exists() else unquote(rest)


def _stamp(facts: dict[str, Any]) -> str:
    """What changes with a store's file: S3's ETag, the hub's blob, or the time."""
    tag = next((facts[name] for name in ("ETag", "blob_id", "LastModified") if facts.get(name)), "")
    return f"{facts.get('size')}-{tag}"


def _write_local(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}-{path.name}"[:255])
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def _remote_errors(url: str) -> Iterator[None]:
    """A store's errors, which differ by library, as ours; FileNotFoundError stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise InputError(f"{url}: access denied; check the credentials and the bucket's policy") from error
    except Exception as error:
        kind = type(error).__name__
        if "Credential" in kind:
            raise InputError(
                f"{url}: no credentials found; set them as the store's library expects"
            ) from error
        raise RemoteError(f"{url}: the store failed ({kind}: {error})"[:300], retryable=True) from error


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    advice = {
        errno.ENOSPC: "the disk is full: free some space and run again, what is done is kept",
        errno.EDQUOT: "the disk quota is used up: free some space and run again, what is done is kept",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.EACCES: "no permission to write here: choose another folder or fix its permissions",
        errno.EPERM: "no permission to write here: choose another folder or fix its permissions",
        errno.ENOTDIR: "a part of this path is a file, not a folder",
        errno.EEXIST: "a part of this path is a file, not a folder",
    }
    try:
        yield
    except OSError as error:
        if error.errno in advice:
            raise InputError(f"{path}: {advice[error.errno]}") from error
        raise
