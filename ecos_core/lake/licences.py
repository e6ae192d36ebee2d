"""Nobody may train on what they may not use: which images of a lake a list of licences allows.

Licences are compared without regard to case, spaces and underscores: ``cc by 4.0`` is ``CC-BY-4.0``. An image
without a licence is ``unknown`` and is allowed only where ``unknown`` is listed. One allowed origin is
enough.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.lake.known import KnownDigests
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.storage import read_shard

UNKNOWN = "unknown"


def normal(licence: str | None) -> str:
    """The form in which licences are compared."""
    return re.sub(r"[\s_-]+", "-", (licence or "").strip()).lower() or UNKNOWN


@dataclass(frozen=True)
class LicenceFilter:
    """Which samples may be used. ``allowed`` are the normal forms, ``refused`` counts images by licence."""

    allowed: frozenset[str]
    refused: dict[str, int]
    _refused_ids: KnownDigests

    def allows(self, sample_id: str) -> bool:
        """Whether the sample may be used."""
        return bytes.fromhex(sample_id) not in self._refused_ids

    def mask(self, sample_ids: Iterable[str]) -> NDArray[np.bool_]:
        """True where the sample may be used."""
        digests = np.frombuffer(bytes.fromhex("".join(sample_ids)), np.uint8)
        return ~self._refused_ids.contains(digests.reshape(-1, 32))

    def check(self, sample_ids: Iterable[str]) -> None:
        """Raises InputError when one of the samples may not be used."""
        refused = [sample_id for sample_id in sample_ids if not self.allows(sample_id)]
        if refused:
            raise InputError(
                f"{len(refused)} sample(s) have a licence that is not allowed (first: {refused[0][:12]}; "
                f"allowed: {', '.join(sorted(self.allowed))}); select again with the same --licence-allow"
            )


def licence_filter(lake: Lake, snapshot: Snapshot, allow: Sequence[str] = ()) -> LicenceFilter | None:
    """The filter that the lake's own rule and ``allow`` make together; None when neither restricts anything.

    Raises InputError when not one image would be left.
    """
    rules = [frozenset(map(normal, rule)) for rule in (lake.licence_rule(), allow) if rule]
    if not rules:
        return None
    allowed = frozenset.intersection(*rules)
    refused_ids, refused = KnownDigests(), Counter[str]()
    elsewhere = _allowed_elsewhere(lake, snapshot, allowed)
    for shard in snapshot.shards:
        for row in lake.read_images(shard, ["sample_id", "licence"]).to_pylist():
            digest = bytes.fromhex(row["sample_id"])
            if (licence := normal(row["licence"])) not in allowed and digest not in elsewhere:
                refused_ids.add(digest)
                refused[licence] += 1
    if refused.total() == snapshot.rows:
        raise InputError(
            f"{lake.location}: no image has an allowed licence ({', '.join(sorted(allowed)) or 'none'}); "
            f"the lake holds {', '.join(name for name, _ in refused.most_common(5))}"
        )
    return LicenceFilter(allowed, dict(refused), refused_ids)


def _allowed_elsewhere(lake: Lake, snapshot: Snapshot, allowed: frozenset[str]) -> KnownDigests:
    """Images that came a second time under an allowed licence."""
    found = KnownDigests()
    for record in snapshot.origins:
        for row in read_shard(lake.images / "origins", record, ["sample_id", "licence"]).to_pylist():
            if normal(row["licence"]) in allowed:
                found.add(bytes.fromhex(row["sample_id"]))
    return found
