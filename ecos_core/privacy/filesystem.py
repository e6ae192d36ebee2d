"""The disk under a ledger: no network file system, whose locks and fsync cannot be trusted; a full or
read-only one is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecos_core.errors import EcosError, InputError

NETWORK_TYPES = frozenset(
    [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smbfs",
        "smb3",
        "smb2",
        "afs",
        "ncpfs",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "ocfs2",
        "gfs2",
        "pvfs2",
        "orangefs",
        "davfs",
        "9p",
        "v9fs",
    ]
)
# FUSE is whatever its program is; these are local.
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.ntfs", "fuse.exfat", "fuseblk"})
MOUNTS = Path("/proc/self/mountinfo")


class LedgerUnavailableError(EcosError):
    """The disk does not let the ledger be written or read. Nothing was released."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path}: cannot be used ({reason}); check the disk's space and the file's permissions"
        )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors, except a missing file, into LedgerUnavailableError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LedgerUnavailableError(path, error.strerror or error) from error


def refuse_network_filesystem(folder: Path) -> None:
    """Raise InputError when ``folder`` lies on a network file system. Where mounts cannot be read nothing
    is known."""
    kind = filesystem_type(folder)
    if kind in NETWORK_TYPES or (kind.startswith("fuse.") and kind not in LOCAL_FUSE):
        raise InputError(
            f"{folder}: lies on a network file system ({kind}), where a ledger's locks and durable writes "
            "cannot be trusted; put the client's home on a local disk"
        )


def filesystem_type(folder: Path, mounts: Path | None = None) -> str:
    """Type of the mount that holds ``folder``, such as ``ext4``; empty where it cannot be told."""
    where = folder.resolve()
    best, kind = "", ""
    try:
        lines = (mounts or MOUNTS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape", errors="replace")
        # A later mount on the same point hides the earlier one.
        if len(point) >= len(best) and where.is_relative_to(point):
            best, kind = point, right.split()[0]
    return kind
