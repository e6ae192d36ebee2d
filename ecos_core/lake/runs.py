"""The memory of an unfinished ingest: a small record for each finished part; a kill loses one part at most.

``images/runs/<key>/part-000000.json`` is written after the part's shards. The key covers the source, the
parameters and the snapshot that the run grows from; the chain of item addresses and stamps tells whether
the source changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecos_core.lake.sources import SourceItem
from ecos_core.storage import Location, ShardRecord, canonical_json, sha256_hex


class Part(BaseModel):
    """What one stretch of the source became.

    ``chain`` is a digest over all item addresses up to its end, ``size`` the bytes of its new images.
    """

    model_config = ConfigDict(frozen=True)

    items: int
    chain: str
    images: ShardRecord | None = None
    origins: ShardRecord | None = None
    quarantine: ShardRecord | None = None
    size: int = 0
    added: int = 0
    duplicates: int = 0
    contradicted: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    passed_over: dict[str, int] = Field(default_factory=dict)

    @property
    def quarantined(self) -> int:
        """Items refused."""
        return sum(self.reasons.values())


def chain_next(chain: str, item: SourceItem) -> str:
    """The digest over all items so far, with one more: its address and its stamp."""
    return hashlib.sha256(f"{chain}\n{item.uri}\n{item.stamp}".encode()).hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its parts."""

    location: Location

    @classmethod
    def of(cls, runs: Location, parent: str | None, identity: dict[str, Any]) -> RunFolder:
        """The folder of the run that grows from the snapshot ``parent`` with these parameters."""
        return cls(runs / f"{parent or ''}-{sha256_hex(canonical_json(identity))[:32]}")

    def parts(self) -> list[Part]:
        """The finished parts in order, up to the first that is missing or unreadable."""
        found: list[Part] = []
        names = set(self.location.names())
        while (name := _part_name(len(found))) in names:
            try:
                found.append(Part.model_validate_json((self.location / name).read_bytes()))
            except ValidationError:
                break
        return found

    def add(self, index: int, part: Part) -> None:
        """Keep a finished part; its shards are on disk."""
        (self.location / _part_name(index)).write_bytes(canonical_json(part.model_dump(mode="json")))

    def remove(self) -> None:
        """Forget the run: it is finished."""
        for name in self.location.names():
            (self.location / name).remove()
        if self.location.is_local and self.location.path.is_dir():
            self.location.path.rmdir()


def run_parent(name: str) -> str:
    """The snapshot that the run in the folder ``name`` grows from; empty for a lake's first."""
    return name.partition("-")[0]


def _part_name(index: int) -> str:
    return f"part-{index:06d}.json"


def still_valid(parts: list[Part], items: Iterator[SourceItem]) -> list[Part]:
    """The leading parts whose stretch of the source is unchanged; ``items`` is consumed on the way."""
    chain = ""
    for index, part in enumerate(parts):
        for item in islice(items, part.items):
            chain = chain_next(chain, item)
        if chain != part.chain:
            return parts[:index]
    return parts
