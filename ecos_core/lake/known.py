"""Which contents were seen before, in memory that stays small: 16 bytes for each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_MERGE_AT = 1_000_000
_LEAST_MERGE = 65_536


class KnownDigests:
    """A set of sha256 digests, kept by their first 128 bits: sorted arrays plus a small set of the newest.

    100 million entries take 1.6 GB. Two contents that share 128 bits of sha256 are out of anyone's reach.
    """

    def __init__(self) -> None:
        self._high: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._low: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._recent: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._high) + len(self._recent)

    def add(self, digest: bytes) -> bool:
        """Add a digest of at least 16 bytes. Returns False when it was known."""
        if digest in self:
            return False
        self._recent.add(digest[:16])
        if len(self._recent) >= min(_MERGE_AT, max(_LEAST_MERGE, len(self._high) // 8)):
            self._merge()
        return True

    def update(self, digests: Iterable[bytes]) -> None:
        """Add many."""
        for digest in digests:
            self.add(digest)

    def __contains__(self, digest: bytes) -> bool:
        key = digest[:16]
        if key in self._recent:
            return True
        if not len(self._high):
            return False
        high, low = np.frombuffer(key, ">u8").astype(np.uint64)
        start, stop = np.searchsorted(self._high, high, "left"), np.searchsorted(self._high, high, "right")
        return bool((self._low[start:stop] == low).any())

    def contains(self, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """``in`` for many at once: bool [n] of uint8 [n, at least 16]."""
        self._merge()
        keys = np.ascontiguousarray(digests[:, :16]).view(">u8").astype(np.uint64)
        place = np.searchsorted(self._high, keys[:, 0], "left")
        found = np.zeros(len(keys), np.bool_)
        waiting = np.arange(len(keys))
        while len(waiting):  # once, but where two digests share their first 64 bits
            waiting = waiting[place[waiting] < len(self._high)]
            waiting = waiting[self._high[place[waiting]] == keys[waiting, 0]]
            same = self._low[place[waiting]] == keys[waiting, 1]
            found[waiting[same]] = True
            waiting = waiting[~same]
            place[waiting] += 1
        return found

    def _merge(self) -> None:
        if not self._recent:
            return
        pairs = np.frombuffer(b"".join(self._recent), ">u8").reshape(-1, 2).astype(np.uint64)
        high = np.concatenate([self._high, pairs[:, 0]])
        low = np.concatenate([self._low, pairs[:, 1]])
        order = np.argsort(high, kind="stable")
        self._high, self._low = high[order], low[order]
        self._recent.clear()
