"""Bring images into a lake: read, verify by decoding, deduplicate by content, store in immutable shards.

Deterministic: the same source into the same snapshot gives the same shards and the same new snapshot,
however often the run was killed on the way. Memory is bounded by one shard and a few images.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import Any

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.lake.decode import BadSample
from ecos_core.lake.known import KnownDigests
from ecos_core.lake.lake import KIND, Lake, Snapshot
from ecos_core.lake.runs import Part, RunFolder, chain_next, still_valid
from ecos_core.lake.shards import MAX_SHARD_BYTES, PartBuffer, PartLimits, PartWriter, manifest_after
from ecos_core.lake.sources import Source, SourceItem, open_source
from ecos_core.names import readable
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Manifest
from ecos_core.storage.folders import in_words

STAGE = "ingest"
THREADS = 4
_WINDOW = 64


@dataclass(frozen=True)
class IngestReport:
    """What became of the items: each was added, a duplicate or quarantined.

    ``reasons`` counts the quarantined, ``contradicted`` the duplicates whose class is not the one in the lake, and
    ``passed_over`` names in the source that are no samples (hidden files, side files), by reason.
    """

    added: int
    duplicates: int
    quarantined: int
    snapshot: str
    reasons: dict[str, int]
    resumed_items: int = 0
    contradicted: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """All that the source gave."""
        return self.added + self.duplicates + self.quarantined

    @property
    def brought_nothing(self) -> bool:
        """Whether not one sample is in the lake for it: all refused or passed over."""
        return self.added + self.duplicates == 0

    @property
    def counts(self) -> str:
        """What became of the items, for a person."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        text = f"{self.added:,} added, {self.duplicates:,} duplicates, {self.quarantined:,} quarantined"
        text += f" ({reasons})" if reasons else ""
        if self.contradicted:
            text += f"\n{self.contradicted:,} duplicates with another class: the first one stands"
        return text + (f"\npassed over: {in_words(self.passed_over)}" if self.passed_over else "")


@dataclass(frozen=True)
class IngestOptions:
    """What is recorded with every image of this ingest; None leaves it to the source."""

    domain: str | None = None
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None
    target_bytes: int | None = None
    by_reference: bool = False

    def identity(self) -> dict[str, Any]:
        """What an unfinished ingest must have in common with the one that goes on."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Examined:
    """An item after reading.

    ``refusal`` set: quarantined. ``decoded`` None: the content was in the lake already.
    """

    item: SourceItem
    digest: bytes = b""
    data: bytes = b""
    decoded: dict[str, Any] | None = None
    refusal: tuple[str, str] | None = None


def ingest(
    path_or_url: str | PathLike[str] | Source,
    lake: Lake,
    *,
    domain: str | None = None,
    source: str | None = None,
    licence: str | None = None,
    attribution: str | None = None,
    layout: str = "auto",
    split: str | None = None,
    by_reference: bool = False,
    target_bytes: int | None = None,
    progress: ProgressSink = silent,
) -> IngestReport:
    """Bring everything under ``path_or_url`` into ``lake`` and publish a new snapshot.

    A content that is in the lake keeps its first row and gains an origin. A bad file becomes a quarantine
    row with a reason. Where nothing is new the newest snapshot stays. ``layout`` and ``split`` are those of
    ``open_source``. ``by_reference`` stores addresses instead of bytes, for images that stay where they are.
    ``target_bytes`` overrides the size of a shard.

    Raises InputError when there is nothing to read, the disk refuses, or another ingest holds the lake;
    RemoteError when a store fails, and the same call goes on where it was.
    """
    stream = (
        path_or_url
        if isinstance(path_or_url, Source)
        else open_source(path_or_url, source, layout=layout, split=split)
    )
    name = source or stream.name
    options = IngestOptions(domain, name, licence, attribution, target_bytes, by_reference)
    with lake.writing():
        return _Run(stream, lake, options, progress).finish()


@dataclass
class _Run:
    """One ingest from start to published snapshot."""

    stream: Source
    lake: Lake
    options: IngestOptions
    progress: ProgressSink
    parts: list[Part] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def finish(self) -> IngestReport:
        head = self.lake.head()
        before = None if head is None else self.lake.snapshot(head)
        folder = RunFolder.of(
            self.lake.images / "runs",
            head,
            {"address": self.stream.address, "options": self.options.identity()},
        )
        total = self.stream.count()
        self.progress(Progress(STAGE, 0, total, "images"))
        self.parts = still_valid(folder.parts(), self.stream.items())
        self.rows = sum(part.added for part in self.parts) + (before.rows if before else 0)
        self.size = sum(part.size for part in self.parts)
        self.size += sum(shard.bytes for shard in before.shards) if before else 0
        resumed = sum(part.items for part in self.parts)
        self._work(folder, before, resumed, total)
        snapshot = self._publish(before)
        folder.remove()
        return self._report(snapshot, resumed)

    def _work(self, folder: RunFolder, before: Snapshot | None, resumed: int, total: int | None) -> None:
        contents = self.lake.known_contents(before)
        contents.update(self._contents_of_parts())
        seen = KnownDigests()
        origins = _LazyOrigins(self.lake, before, self.parts)
        chain, done = (self.parts[-1].chain if self.parts else ""), resumed
        failures = sum(part.quarantined for part in self.parts)
        buffer = self._new_buffer()
        with PartWriter(self.lake.images, folder, self.parts) as writer:
            for examined in self._examined(resumed, contents):
                chain, done = chain_next(chain, examined.item), done + 1
                self._place(examined, buffer, contents, seen, origins)
                failures += examined.refusal is not None
                if done % 50 == 0:
                    self.progress(Progress(STAGE, done, total, "images", failures))
                if buffer.full:
                    writer.write(buffer, chain)
                    self.rows, self.size = self.rows + buffer.added, self.size + buffer.size
                    buffer = self._new_buffer()
            if buffer.items:
                writer.write(buffer, chain)
        self.progress(Progress(STAGE, done, done, "images", failures))

    def _examined(self, resumed: int, contents: KnownDigests) -> Iterator[Examined]:
        return _examine_all(_skip(self.stream.items(), resumed), contents, self.options.by_reference)

    def _place(
        self,
        examined: Examined,
        buffer: PartBuffer,
        contents: KnownDigests,
        seen: KnownDigests,
        origins: _LazyOrigins,
    ) -> None:
        item, options = examined.item, self.options
        buffer.items += 1
        if item.passed_over is not None:
            buffer.passed_over[item.passed_over] += 1
            return
        if examined.refusal is not None:
            reason, detail = examined.refusal
            buffer.refuse(item.uri, reason, detail, known=not origins.add_refusal(item.uri, reason))
            return
        sample_id = examined.digest.hex()
        row = {
            "source": item.source or options.source or self.stream.name,
            "licence": item.licence or options.licence,
            "attribution": item.attribution or options.attribution,
            "domain": options.domain or item.domain,
            "label": item.label,
            "extra": item.extra,
        }
        if examined.digest in contents or not seen.add(examined.digest):
            buffer.contradicted += origins.contradicts(sample_id, item.label)
            buffer.repeat(sample_id, item.uri, row, known=not origins.add(sample_id, item.uri))
            return
        assert examined.decoded is not None
        reference = self._reference(item) if options.by_reference else None
        buffer.add(sample_id, examined.data, item.uri, row | examined.decoded, reference)
        origins.add_first(sample_id, item.uri, item.label)

    def _reference(self, item: SourceItem) -> str:
        if item.address is None:
            raise InputError(f"{item.uri}: lies inside an archive or a table: it cannot be kept by reference")
        return item.address

    def _new_buffer(self) -> PartBuffer:
        # A shard of references costs nothing to store: it starts full-sized, counting what it refers to.
        target = self.options.target_bytes or (MAX_SHARD_BYTES if self.options.by_reference else None)
        return PartBuffer(PartLimits.for_lake(self.rows, self.size, target))

    def _contents_of_parts(self) -> Iterator[bytes]:
        for part in self.parts:
            if part.images is not None:
                yield from self.lake.sample_digests(part.images)

    def _publish(self, before: Snapshot | None) -> Snapshot:
        manifest: Manifest | None = manifest_after(KIND, before, self.parts)
        if manifest is None:
            if before is None:
                raise InputError(f"{self.stream.address}: nothing in here to bring into a lake")
            return before
        return self.lake.publish(manifest, {"address": self.stream.address, **self.options.identity()})

    def _report(self, snapshot: Snapshot, resumed: int) -> IngestReport:
        reasons, passed_over = Counter[str](), Counter[str]()
        for part in self.parts:
            reasons.update(part.reasons)
            passed_over.update(part.passed_over)
        return IngestReport(
            added=sum(part.added for part in self.parts),
            duplicates=sum(part.duplicates for part in self.parts),
            quarantined=reasons.total(),
            snapshot=snapshot.id,
            reasons=dict(sorted(reasons.items())),
            resumed_items=resumed,
            contradicted=sum(part.contradicted for part in self.parts),
            passed_over=dict(sorted(passed_over.items())),
        )


class _LazyOrigins:
    """Which (content, origin), (content, class) and (address, reason) pairs are recorded.

    Those of this run are kept as digests; those of the lake are read when first asked.
    """

    def __init__(self, lake: Lake, before: Snapshot | None, parts: list[Part]) -> None:
        self._lake, self._before, self._parts = lake, before, list(parts)
        self._known, self._classes = KnownDigests(), KnownDigests()
        self._read_origins = self._read_classes = before is None and not parts

    def add_first(self, sample_id: str, uri: str, label: str | None) -> None:
        """A new content's first origin and its class."""
        self._known.add(_pair(sample_id, uri))
        self._add_class(sample_id, label)

    def add(self, sample_id: str, uri: str) -> bool:
        """False when the pair is recorded already."""
        return self._origins().add(_pair(sample_id, uri))

    def add_refusal(self, uri: str, reason: str) -> bool:
        return self._origins().add(_pair(f"refused:{reason}", uri))

    def contradicts(self, sample_id: str, label: str | None) -> bool:
        """Whether a known content has a class, and it is another one than ``label``."""
        if label is None:
            return False
        if not self._read_classes:
            self._read_classes = True
            for known, name in self._lake.known_classes(self._before, self._parts):
                self._add_class(known, name)
        return _pair(sample_id, "") in self._classes and _pair(sample_id, f"={label}") not in self._classes

    def _add_class(self, sample_id: str, label: str | None) -> None:
        if label is not None:
            self._classes.add(_pair(sample_id, ""))
            self._classes.add(_pair(sample_id, f"={label}"))

    def _origins(self) -> KnownDigests:
        if not self._read_origins:
            self._read_origins = True
            for sample_id, uri in self._lake.known_origins(self._before, self._parts):
                self._known.add(_pair(sample_id, uri))
        return self._known


def _pair(first: str, second: str) -> bytes:
    return hashlib.sha256(f"{first}\n{second}".encode()).digest()


def _skip(items: Iterator[SourceItem], count: int) -> Iterator[SourceItem]:
    for _ in range(count):
        next(items)
    return items


def _examine_all(
    items: Iterator[SourceItem], contents: KnownDigests, by_reference: bool
) -> Iterator[Examined]:
    """Examine in threads (Pillow and hashing release the interpreter's lock), in the order of the source."""
    waiting: list[Future[Examined]] = []
    examine = partial(_examine, contents=contents, by_reference=by_reference)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="ingest") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(examine, item))
                if len(waiting) >= _WINDOW:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _examine(item: SourceItem, contents: KnownDigests, by_reference: bool) -> Examined:
    if item.passed_over is not None:
        return Examined(item)
    if by_reference and item.address is not None and readable(item.address) != item.address:
        return Examined(item, refusal=("unreadable", "its name is no UTF-8: it cannot be kept by reference"))
    try:
        data = item.load()
        digest = hashlib.sha256(data).digest()
        if digest in contents:
            return Examined(item, digest)
        facts = item.examine(data)
    except BadSample as bad:
        return Examined(item, refusal=(bad.reason, bad.detail))
    except MissingDependencyError:
        raise
    except (OSError, InputError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        return Examined(item, refusal=("unreadable", detail[:200]))
    return Examined(item, digest, data, facts)
