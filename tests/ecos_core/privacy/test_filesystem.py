"""A ledger on a network file system is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecos_core.errors import InputError
from ecos_core.privacy import filesystem
from ecos_core.privacy.filesystem import filesystem_type, refuse_network_filesystem
from ecos_core.privacy.ledger import Ledger, Limits

MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:25 / {root}/share rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2
31 27 0:26 / {root}/share/local rw,relatime - xfs /dev/vdb rw
32 27 0:27 / {root}/with\\040space rw,relatime - fuse.sshfs host:/ rw
33 27 0:28 / {root}/twice rw,relatime - ext4 /dev/vdc rw
34 33 0:29 / {root}/twice rw,relatime - cifs //host/share rw
35 27 0:30 / {root}/overlay rw,relatime - fuse.fuse-overlayfs overlay rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO.format(root=tmp_path))
    return table


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("home", "ext4"),
        ("share", "nfs4"),
        ("share/deep/er", "nfs4"),
        ("share/local/x", "xfs"),
        ("shared", "ext4"),
        ("with space/x", "fuse.sshfs"),
        ("twice", "cifs"),
    ],
)
def test_the_mount_that_holds_a_folder(tmp_path: Path, mounts: Path, place: str, kind: str) -> None:
    assert filesystem_type(tmp_path / place, mounts) == kind


def test_where_mounts_cannot_be_read_nothing_is_known(tmp_path: Path) -> None:
    assert filesystem_type(tmp_path, tmp_path / "absent") == ""


@pytest.mark.parametrize("place", ["share", "with space", "twice"])
def test_a_ledger_is_refused_there(
    tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    with pytest.raises(InputError, match="network file system"):
        Ledger.create(tmp_path / place, Limits(total=1.0), 1e-5)


def test_local_file_systems_are_fine(tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    refuse_network_filesystem(tmp_path / "overlay")
    Ledger.create(tmp_path / "share" / "local", Limits(total=1.0), 1e-5)
    with monkeypatch.context() as patch:
        Ledger.open(tmp_path / "share" / "local")
        mounts.write_text(mounts.read_text().replace("xfs", "nfs"))
        patch.setattr(filesystem, "MOUNTS", mounts)
        with pytest.raises(InputError, match="network file system"):
            Ledger.open(tmp_path / "share" / "local")
