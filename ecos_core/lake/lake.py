"""The lake: immutable Parquet shards of images, and snapshots that say which shards are in.

The layout is that of docs/data-contracts.md. A snapshot's id is the digest of its manifest, which carries
no clock: the same images ingested in the same order give the same id on any machine. When a snapshot was
made is in the log.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.known import KnownDigests
from ecos_core.lake.references import with_referred_bytes
from ecos_core.storage import (
    Location,
    Manifest,
    ShardRecord,
    canonical_json,
    read_manifest,
    read_shard,
    write_manifest,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from ecos_core.lake.runs import Part

LAYOUT_VERSION = 1
KIND = "lake/images"


def image_schema() -> pa.Schema:
    """Columns of ``images/shards``. ``bytes`` is null where the lake only refers to the image by ``uri``."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("bytes", pa.large_binary()),
            pa.field("uri", pa.string()),
            pa.field("media_type", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("licence", pa.string()),
            pa.field("attribution", pa.string()),
            pa.field("origins", pa.list_(pa.string()), nullable=False),
            pa.field("domain", pa.string()),
            pa.field("label", pa.string()),
            pa.field("perceptual_hash", pa.uint64(), nullable=False),
        ]
    )


@dataclass(frozen=True)
class Snapshot:
    """What was in the lake at one time.

    ``id`` is the digest of ``manifest``; ``rows`` is the number of images.
    """

    id: str
    manifest: Manifest

    @property
    def shards(self) -> list[ShardRecord]:
        """Records of the shards, in the lake's order."""
        return list(self.manifest.shards)

    @property
    def rows(self) -> int:
        """Samples in the snapshot."""
        return self.manifest.rows

    @property
    def parent(self) -> str | None:
        """The snapshot that this one grew from."""
        parent = self.manifest.summary.get("parent")
        return None if parent is None else str(parent)

    @property
    def quarantine(self) -> list[ShardRecord]:
        """Records of the shards of what was refused."""
        return _records(self.manifest, "quarantine")

    @property
    def origins(self) -> list[ShardRecord]:
        """Shards of ``images/origins``: where contents came from again, after their first origin."""
        return _records(self.manifest, "origins")


def _records(manifest: Manifest, role: str) -> list[ShardRecord]:
    return [ShardRecord.model_validate(record) for record in manifest.summary.get(role, [])]


@dataclass(frozen=True)
class Lake:
    """A lake at a local path or an object store's URL. Make one with ``Lake.create`` or ``Lake.open``."""

    location: Location

    @classmethod
    def create(cls, url: str | PathLike[str] | Location) -> Lake:
        """Make an empty lake. Raises InputError when the place holds a lake already or cannot be written."""
        location = Location.of(url)
        if (location / "lake.json").exists():
            raise InputError(f"{location}: there is a lake here already; open it, or choose another place")
        location.make_folder()
        (location / "lake.json").write_bytes(json.dumps({"schema_version": LAYOUT_VERSION}).encode())
        return cls(location)

    @classmethod
    def open(cls, url: str | PathLike[str] | Location) -> Lake:
        """Open a lake. Raises InputError when there is none, or a newer version wrote it."""
        location = Location.of(url)
        try:
            written = json.loads((location / "lake.json").read_bytes())
            version = int(written["schema_version"])
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{location}: no lake here; make one with  ecos ingest PATH --lake {location}"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(str(location / "lake.json"), "a schema_version", "something else") from error
        if version > LAYOUT_VERSION:
            raise InputError(f"{location}: written by a newer version (layout {version}); upgrade ecos")
        return cls(location)

    @classmethod
    def open_or_create(cls, url: str | PathLike[str] | Location) -> Lake:
        """The lake at a path or address, made where there is none."""
        location = Location.of(url)
        return cls.open(location) if (location / "lake.json").exists() else cls.create(location)

    def folder(self, name: str) -> Location:
        """A part of the lake: ``images``, ``features``, ``clusters``."""
        return self.location / name

    @property
    def images(self) -> Location:
        """The folder of samples, snapshots and quarantine."""
        return self.folder("images")

    def licence_rule(self) -> tuple[str, ...]:
        """The licences that this lake's owner allows to be used; empty: all."""
        written = json.loads((self.location / "lake.json").read_bytes())
        return tuple(written.get("licence_allow", ()))

    def set_licence_rule(self, allow: Sequence[str]) -> None:
        """Allow these licences only, in every sampling and training from this lake; empty: all."""
        rule = {"schema_version": LAYOUT_VERSION, "licence_allow": sorted(set(allow))}
        (self.location / "lake.json").write_bytes(canonical_json(rule))

    def head(self) -> str | None:
        """The id of the newest snapshot; None in an empty lake."""
        try:
            return (self.images / "HEAD").read_bytes().decode().strip()
        except FileNotFoundError:
            return None

    def snapshot(self, id: str | None = None) -> Snapshot:
        """The newest snapshot, or the one of that id (a prefix of 8 digits and more will do).

        Raises InputError when the lake is empty or the id is unknown, IntegrityError when the manifest was
        altered.
        """
        wanted = self.head() if id is None else self._full_id(id)
        if wanted is None:
            raise InputError(f"{self.location}: the lake is empty; bring images in with  ecos ingest")
        name = f"{wanted}.json"
        manifest = read_manifest(self.images / "snapshots", KIND, name)
        if manifest.digest != wanted:
            raise IntegrityError(str(self.images / "snapshots" / name), wanted, manifest.digest)
        return Snapshot(wanted, manifest)

    def _full_id(self, id: str) -> str:
        if len(id) == 64:
            return id
        found = [name for name in self.snapshot_ids() if len(id) >= 8 and name.startswith(id)]
        if len(found) != 1:
            raise InputError(f"{self.location}: no snapshot '{id}'; `ecos lake log` lists them")
        return found[0]

    def snapshot_ids(self) -> list[str]:
        """All snapshots, sorted by id."""
        names = (self.images / "snapshots").names()
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]

    def history(self) -> Iterator[Snapshot]:
        """From the newest snapshot back to the first."""
        id = self.head()
        while id is not None:
            snapshot = self.snapshot(id)
            yield snapshot
            id = snapshot.parent

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lake for writing. Locally a lock file keeps others out; an object store has no such thing.

        Raises InputError when another process holds it.
        """
        if not self.location.is_local:
            yield
            return
        from filelock import FileLock, Timeout

        self.images.make_folder()
        lock = FileLock(self.images.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{self.location}: another ingest is writing to this lake; wait until it is done"
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.location}: cannot write here ({error.strerror}); choose another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def publish(self, manifest: Manifest, note: dict[str, Any]) -> Snapshot:
        """Make ``manifest`` the newest snapshot. ``note`` goes to the log with the time. Used by ingest only.

        Raises InputError when another writer published since the run began.
        """
        id = manifest.digest
        if self.head() != manifest.summary.get("parent"):
            raise InputError(
                f"{self.location}: another ingest finished meanwhile; run the same command again"
            )
        written = datetime.now(UTC).isoformat(timespec="seconds")
        (self.images / "log" / f"{id}.json").write_bytes(canonical_json({"added_at": written, **note}))
        write_manifest(self.images / "snapshots", manifest, f"{id}.json")
        (self.images / "HEAD").write_bytes(id.encode())
        return Snapshot(id, manifest)

    def read_images(self, shard: ShardRecord, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of one shard, in their stored order, for example ``columns=["sample_id", "bytes"]``.

        ``bytes`` of images that the lake only refers to are fetched and checked. Raises IntegrityError when
        the shard is missing or broken, or a referred image is gone or another one.
        """
        folder = self.images / "shards"
        if columns is not None and "bytes" not in columns:
            return read_shard(folder, shard, columns)
        needed = None if columns is None else list(dict.fromkeys([*columns, "sample_id", "uri"]))
        table = with_referred_bytes(read_shard(folder, shard, needed))
        return table if columns is None else table.select(list(columns))

    def sample_digests(self, shard: ShardRecord) -> Iterator[bytes]:
        """The sha256 of every image of a shard, 32 bytes each."""
        for sample_id in self.read_images(shard, ["sample_id"])["sample_id"].to_pylist():
            yield bytes.fromhex(sample_id)

    def known_contents(self, snapshot: Snapshot | None) -> KnownDigests:
        """The contents of a snapshot."""
        known = KnownDigests()
        for shard in snapshot.shards if snapshot else []:
            known.update(self.sample_digests(shard))
        return known

    def known_origins(self, snapshot: Snapshot | None, parts: Sequence[Part]) -> Iterator[tuple[str, str]]:
        """All recorded (sample id, origin) pairs and, as ``refused:<reason>``, the quarantined addresses."""
        before = snapshot.shards if snapshot else []
        for shard in [*before, *(part.images for part in parts if part.images)]:
            for row in self.read_images(shard, ["sample_id", "origins"]).to_pylist():
                for uri in row["origins"]:
                    yield row["sample_id"], uri
        before = snapshot.origins if snapshot else []
        for shard in [*before, *(part.origins for part in parts if part.origins)]:
            for row in read_shard(self.images / "origins", shard, ["sample_id", "uri"]).to_pylist():
                yield row["sample_id"], row["uri"]
        before = snapshot.quarantine if snapshot else []
        for shard in [*before, *(part.quarantine for part in parts if part.quarantine)]:
            for row in read_shard(self.images / "quarantine", shard, ["uri", "reason"]).to_pylist():
                yield f"refused:{row['reason']}", row["uri"]

    def known_classes(
        self, snapshot: Snapshot | None, parts: Sequence[Part]
    ) -> Iterator[tuple[str, str | None]]:
        """(sample id, class) of every image."""
        before = snapshot.shards if snapshot else []
        for shard in [*before, *(part.images for part in parts if part.images)]:
            table = self.read_images(shard, ["sample_id", "label"])
            yield from zip(table["sample_id"].to_pylist(), table["label"].to_pylist(), strict=True)

    def read_quarantine(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """Rows ``uri, reason, detail`` of everything refused up to this snapshot."""
        rows: list[dict[str, Any]] = []
        for record in snapshot.quarantine:
            rows += read_shard(self.images / "quarantine", record).to_pylist()
        return rows
