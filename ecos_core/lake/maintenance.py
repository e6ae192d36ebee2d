"""What is in a lake, what happened to it, and what nothing refers to any more."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.runs import RunFolder, run_parent
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, Manifest, verify_shards
from ecos_core.storage.locations import TEMPORARY_PREFIX, Found

NOT_STATED = "not stated"
# A write that is still going on has a temporary file younger than this.
_TEMPORARY_AGE_S = 3600.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LakeSummary:
    """Counts of a snapshot. ``bytes`` is what its shards take; ``largest_classes`` are (label, images)."""

    snapshot: str
    images: int
    shards: int
    bytes: int
    domains: dict[str, int]
    sources: dict[str, int]
    licences: dict[str, int]
    labels: dict[str, int]
    quarantined: dict[str, int]
    licence_rule: tuple[str, ...]
    features: tuple[str, ...]
    clusterings: tuple[str, ...]


def summarise(lake: Lake, snapshot: Snapshot | None = None) -> LakeSummary:
    """Count a snapshot's images by what is known of them; small columns are read, no image."""
    snapshot = snapshot or lake.snapshot()
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("domain", "source", "licence", "label")}
    for shard in snapshot.shards:
        table = lake.read_images(shard, list(counts))
        for name, counter in counts.items():
            for entry in table[name].value_counts().to_pylist():
                counter[entry["values"] or NOT_STATED] += entry["counts"]
    refused = Counter(row["reason"] for row in lake.read_quarantine(snapshot))
    return LakeSummary(
        snapshot=snapshot.id,
        images=snapshot.rows,
        shards=len(snapshot.shards),
        bytes=sum(shard.bytes for shard in snapshot.shards),
        domains=_ordered(counts["domain"]),
        sources=_ordered(counts["source"]),
        licences=_ordered(counts["licence"]),
        labels=_ordered(counts["label"]),
        quarantined=_ordered(refused),
        licence_rule=lake.licence_rule(),
        features=tuple(lake.folder("features").names()),
        clusterings=tuple(name for name in lake.folder("clusters").names() if name != "HEAD"),
    )


def _ordered(counter: Counter[str]) -> dict[str, int]:
    """Largest first, equal ones by name."""
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class LogEntry:
    """A snapshot of the history. ``added`` and ``refused`` are what it brought over its parent."""

    snapshot: str
    parent: str | None
    added_at: str | None
    address: str | None
    source: str | None
    images: int
    added: int
    refused: int


def history(lake: Lake) -> list[LogEntry]:
    """The newest snapshot first. The time is None where the log was lost: it is no part of a snapshot."""
    snapshots = list(lake.history())
    parents: list[Snapshot | None] = [*snapshots[1:], None]
    return [_entry(lake, *pair) for pair in zip(snapshots, parents, strict=True)]


def _entry(lake: Lake, snapshot: Snapshot, parent: Snapshot | None) -> LogEntry:
    note = _note(lake, snapshot.id)
    refused = sum(shard.rows for shard in snapshot.quarantine)
    return LogEntry(
        snapshot=snapshot.id,
        parent=snapshot.parent,
        added_at=note.get("added_at"),
        address=note.get("address"),
        source=note.get("source"),
        images=snapshot.rows,
        added=snapshot.rows - (parent.rows if parent else 0),
        refused=refused - (sum(shard.rows for shard in parent.quarantine) if parent else 0),
    )


def _note(lake: Lake, id: str) -> dict[str, Any]:
    try:
        read = json.loads((lake.images / "log" / f"{id}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


@dataclass(frozen=True)
class Garbage:
    """A file that nothing refers to."""

    location: Location
    bytes: int
    reason: str


def find_garbage(lake: Lake, *, now: float | None = None) -> list[Garbage]:
    """Files that no snapshot and no unfinished ingest of the newest one refers to. Nothing is removed.

    Snapshots in the history, their features and every clustering are kept: selections outside the lake refer
    to them. A temporary file counts after an hour.
    """
    kept = _Kept.of(lake)
    moment = time.time() if now is None else now
    found: list[Garbage] = []
    for file in lake.location.walk():
        reason = _why_garbage(file, kept, moment)
        if reason is not None:
            found.append(Garbage(lake.location / file.name, file.size, reason))
    return found


def remove_garbage(lake: Lake) -> list[Garbage]:
    """Remove what ``find_garbage`` finds, with the lake held for writing; returns what was removed.

    Raises InputError when an ingest is running. On an object store, which cannot be held, stop ingests first.
    """
    with lake.writing():
        garbage = find_garbage(lake)
        for item in garbage:
            item.location.remove()
    return garbage


@dataclass(frozen=True)
class _Kept:
    """What must stay: snapshots, shard files by folder, image shards' digests, unfinished runs."""

    snapshots: frozenset[str]
    shards: frozenset[str]
    images: frozenset[str]
    runs: frozenset[str]

    @classmethod
    def of(cls, lake: Lake) -> _Kept:
        snapshots = list(lake.history())
        shards: set[str] = set()
        images: set[str] = set()
        for snapshot in snapshots:
            shards |= {f"shards/{shard.name}" for shard in snapshot.shards}
            shards |= {f"origins/{shard.name}" for shard in snapshot.origins}
            shards |= {f"quarantine/{shard.name}" for shard in snapshot.quarantine}
            images |= {shard.sha256 for shard in snapshot.shards}
        runs = [name for name in (lake.images / "runs").names() if run_parent(name) == (lake.head() or "")]
        for name in runs:
            for part in RunFolder(lake.images / "runs" / name).parts():
                records = {"shards": part.images, "origins": part.origins, "quarantine": part.quarantine}
                shards |= {f"{folder}/{record.name}" for folder, record in records.items() if record}
        return cls(
            frozenset(snapshot.id for snapshot in snapshots),
            frozenset(shards),
            frozenset(images),
            frozenset(runs),
        )


def _why_garbage(file: Found, kept: _Kept, now: float) -> str | None:
    parts = file.name.split("/")
    if parts[-1].startswith(TEMPORARY_PREFIX):
        return "left by an interrupted write" if now - file.modified > _TEMPORARY_AGE_S else None
    match parts:
        case ["images", "runs", run, _]:
            return None if run in kept.runs else "an ingest that can no longer go on"
        case ["images", "snapshots" | "log", name]:
            return None if name.removesuffix(".json") in kept.snapshots else "a snapshot outside the history"
        case ["images", "shards" | "origins" | "quarantine" as folder, name]:
            return None if f"{folder}/{name}" in kept.shards else "a shard of no snapshot"
        case ["features", _, "shards", name]:
            of = _DIGEST.match(name)
            return None if of is None or of[0] in kept.images else "features of a shard of no snapshot"
        case ["features", _, "snapshots", name]:
            of = _DIGEST.match(name)
            return None if of is None or of[0] in kept.snapshots else "features of no snapshot"
        case ["near_duplicates", name, _]:
            known = any(id.startswith(name.partition("-")[0]) for id in kept.snapshots)
            return None if known else "near-duplicates of no snapshot"
    return None


def verify(lake: Lake, snapshot: Snapshot, progress: ProgressSink = silent) -> int:
    """Hash every shard of the snapshot again; how many there are.

    Raises IntegrityError at the first that differs.
    """
    parts = [("shards", snapshot.shards), ("origins", snapshot.origins), ("quarantine", snapshot.quarantine)]
    total = sum(len(shards) for _, shards in parts)
    checked = 0
    for folder, shards in parts:
        for shard in shards:
            verify_shards(lake.images / folder, Manifest(kind=folder, shards=[shard]))
            checked += 1
            progress(Progress("verify", checked, total, "shards"))
    return checked
