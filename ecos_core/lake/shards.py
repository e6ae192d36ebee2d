"""Rows on their way into a shard, and the manifest of the snapshot that holds the finished ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ecos_core.lake.extra import extra_columns
from ecos_core.lake.lake import Snapshot, image_schema
from ecos_core.lake.runs import Part, RunFolder
from ecos_core.lake.sources.facts import Extra
from ecos_core.storage import Location, Manifest, ShardRecord, write_shard

MAX_SHARD_BYTES = 128 * 2**20
MIN_SHARD_BYTES = 8 * 2**20
MAX_SHARD_ROWS = 65_536
MIN_SHARD_ROWS = 1_000
_SHARES = 8
_MAX_SIDE_ROWS = 20_000
_MAX_ITEMS = 100_000
_ROW_GROUP_ROWS = 512
_ROW_FACTS = (
    "media_type",
    "width",
    "height",
    "source",
    "licence",
    "attribution",
    "domain",
    "label",
    "perceptual_hash",
)
_ORIGIN_FACTS = ("source", "licence", "attribution", "domain", "label")


@dataclass(frozen=True)
class PartLimits:
    """When a part is closed: whichever comes first."""

    bytes: int
    rows: int

    @classmethod
    def for_lake(cls, rows: int, size: int, target_bytes: int | None = None) -> PartLimits:
        """An eighth of the ``rows`` and the ``size`` that are in, between 8 and 128 MiB and 1,000 and 65,536.

        A small lake has several shards to work on in parallel, a large one has shards made for object stores,
        and the number of shards grows with the logarithm of the size until they are full-sized.
        """
        return cls(
            target_bytes or min(max(size // _SHARES, MIN_SHARD_BYTES), MAX_SHARD_BYTES),
            min(max(rows // _SHARES, MIN_SHARD_ROWS), MAX_SHARD_ROWS),
        )


@dataclass
class PartBuffer:
    """The rows of one part: new images, further origins of known ones, and what was refused."""

    limits: PartLimits
    items: int = 0
    size: int = 0
    duplicates: int = 0
    contradicted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    _images: list[dict[str, Any]] = field(default_factory=list)
    _extra: list[Mapping[str, Extra]] = field(default_factory=list)
    _place: dict[str, int] = field(default_factory=dict)
    _origins: list[dict[str, Any]] = field(default_factory=list)
    _refused: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, sample_id: str, data: bytes, uri: str, facts: dict[str, Any], reference: str | None = None
    ) -> None:
        """A new image; with a reference its bytes stay there."""
        self._place[sample_id] = len(self._images)
        row: dict[str, Any] = {"sample_id": sample_id, "bytes": data, "uri": reference, "origins": [uri]}
        if reference is not None:
            row["bytes"] = None
        self._images.append(row | {name: facts[name] for name in _ROW_FACTS})
        self._extra.append(facts.get("extra") or {})
        self.size += len(data)

    def repeat(self, sample_id: str, uri: str, facts: dict[str, Any], *, known: bool) -> None:
        """A known content; its origin is kept unless that is known too."""
        self.duplicates += 1
        if known:
            return
        if sample_id in self._place:
            self._images[self._place[sample_id]]["origins"].append(uri)
        origin = {"sample_id": sample_id, "uri": uri}
        self._origins.append(origin | {name: facts[name] for name in _ORIGIN_FACTS})

    def refuse(self, uri: str, reason: str, detail: str, *, known: bool) -> None:
        """A bad item; counted always, written once."""
        self.reasons[reason] += 1
        if not known:
            self._refused.append({"uri": uri, "reason": reason, "detail": detail})

    @property
    def added(self) -> int:
        """New samples so far."""
        return len(self._images)

    @property
    def full(self) -> bool:
        """Whether the part has the size of a shard."""
        return (
            self.size >= self.limits.bytes
            or len(self._images) >= self.limits.rows
            or len(self._origins) + len(self._refused) >= _MAX_SIDE_ROWS
            or self.items >= _MAX_ITEMS
        )

    def write(self, images: Location, chain: str) -> Part:
        """Write the part's shards under ``images/`` and return its record."""
        return Part(
            items=self.items,
            chain=chain,
            images=_write(images / "shards", self._images, image_schema(), extra_columns(self._extra)),
            origins=_write(images / "origins", self._origins, origin_schema()),
            quarantine=_write(images / "quarantine", self._refused, quarantine_schema()),
            size=self.size,
            added=len(self._images),
            duplicates=self.duplicates,
            contradicted=self.contradicted,
            reasons=dict(self.reasons),
            passed_over=dict(self.passed_over),
        )


class PartWriter:
    """Writes parts in their order, one behind the reading, so that disk and decoders work at the same time.

    ``parts`` grows as parts and their records are on disk. Leaving the context waits for the last.
    """

    def __init__(self, images: Location, folder: RunFolder, parts: list[Part]) -> None:
        self._images, self._folder, self._parts = images, folder, parts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._pending: Future[None] | None = None

    def write(self, buffer: PartBuffer, chain: str) -> None:
        """Start writing; first waits for the part before. Raises what went wrong with that one."""
        self._wait()
        self._pending = self._thread.submit(self._write, buffer, chain)

    def _write(self, buffer: PartBuffer, chain: str) -> None:
        part = buffer.write(self._images, chain)
        self._folder.add(len(self._parts), part)
        self._parts.append(part)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()


def origin_schema() -> Any:
    """Columns of the origins, as in docs/data-contracts.md."""
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in ("sample_id", "uri", *_ORIGIN_FACTS)])


def quarantine_schema() -> Any:
    """Columns of the quarantine, as in docs/data-contracts.md."""
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in ("uri", "reason", "detail")])


def _write(
    folder: Location, rows: list[dict[str, Any]], schema: Any, extra: Mapping[str, Any] | None = None
) -> ShardRecord | None:
    """Write rows as ``<sha256 of the rows' Parquet>.parquet``; None when there are none."""
    import pyarrow as pa

    if not rows:
        return None
    table = pa.Table.from_pylist(rows, schema)
    for name, column in (extra or {}).items():
        table = table.append_column(name, column)
    packed = "bytes" in table.column_names and rows[0]["media_type"].startswith("image/")
    opaque = ["bytes"] if packed else []
    return write_shard(folder, None, table, row_group_rows=_ROW_GROUP_ROWS, opaque=opaque)


def manifest_after(kind: str, before: Snapshot | None, parts: Sequence[Part]) -> Manifest | None:
    """The manifest of the snapshot after these parts; None when they bring nothing new."""
    shards = [part.images for part in parts if part.images]
    origins = [part.origins for part in parts if part.origins]
    quarantine = [part.quarantine for part in parts if part.quarantine]
    if not (shards or origins or quarantine):
        return None
    return Manifest(
        kind=kind,
        shards=[*(before.shards if before else []), *shards],
        summary={
            "parent": before.id if before else None,
            "origins": _dump([*(before.origins if before else []), *origins]),
            "quarantine": _dump([*(before.quarantine if before else []), *quarantine]),
        },
    )


def _dump(records: Sequence[ShardRecord]) -> list[dict[str, Any]]:
    return [record.model_dump(mode="json") for record in records]
