"""Which of many pictures look the same: pairs of close perceptual hashes, confirmed by thumbnails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ASPECT_TOLERANCE = 0.1
_LEAST_CORRELATION = 0.97
_LEAST_BITS = 8
_REPRESENTATIVES = 8
THUMBNAIL_SIDE = 32

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]
Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True)
class Prints:
    """What is compared of n pictures: their hash and their aspect ratio, width by height."""

    hashes: Hashes
    aspects: NDArray[np.float64]


def near_pairs(prints: Prints, distance: int) -> Pairs:
    """All pairs [m, 2], first < second, of prints within ``distance`` bits.

    Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): cut into distance + 1 pieces, two hashes that
    differ in at most ``distance`` bits agree in at least one piece. Of many equal ones the first eight stand
    for all, so that a thousand copies of one picture cost thousands of comparisons, not a million.
    """
    telling = np.flatnonzero(is_telling(prints.hashes))
    unique, inverse, count = np.unique(prints.hashes[telling], return_inverse=True, return_counts=True)
    rows = telling[np.argsort(inverse, kind="stable")]  # rows of one hash lie together, in lake order
    start = np.cumsum(count) - count
    close = [_close_in_piece(unique, piece, distance) for piece in _pieces(unique, distance + 1)]
    found = [*_equal_pairs(rows, start, count), *_crossed(np.concatenate(close), rows, start, count)]
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    one, two = prints.aspects[pairs[:, 0]], prints.aspects[pairs[:, 1]]
    return pairs[np.abs(np.log(one / two)) <= _ASPECT_TOLERANCE]


def _equal_pairs(rows: Pairs, start: Pairs, count: Pairs) -> Iterator[Pairs]:
    """Rows of equal hash: each with the first eight of its kind."""
    head, place = np.repeat(start, count), np.arange(len(rows)) - np.repeat(start, count)
    for index in range(_REPRESENTATIVES):
        later = place > index
        yield np.stack([rows[head[later] + index], rows[later]], axis=1)


def _crossed(close: Pairs, rows: Pairs, start: Pairs, count: Pairs) -> Iterator[Pairs]:
    """Rows of two close hashes: the first eight of the one with the first eight of the other."""
    one, two = close[:, 0], close[:, 1]
    for i, j in product(range(_REPRESENTATIVES), repeat=2):
        both = (count[one] > i) & (count[two] > j)
        yield np.stack([rows[start[one[both]] + i], rows[start[two[both]] + j]], axis=1)


def is_telling(hashes: Hashes) -> NDArray[np.bool_]:
    """Whether a hash says anything: a flat picture has next to no bit set, one with detail about half."""
    bits = np.bitwise_count(hashes)
    return (bits >= _LEAST_BITS) & (bits <= 64 - _LEAST_BITS)


def _pieces(hashes: Hashes, count: int) -> Iterator[Hashes]:
    """The hashes' bits in ``count`` pieces of nearly equal width."""
    edges = np.linspace(0, 64, count + 1).astype(int)
    for start, stop in pairwise(edges):
        mask = (1 << int(stop - start)) - 1
        yield (hashes >> np.uint64(start)) & np.uint64(mask)


def _close_in_piece(hashes: Hashes, piece: Hashes, distance: int) -> Pairs:
    """Pairs of rows [m, 2] that agree in this piece and are close as a whole."""
    order = np.argsort(piece, kind="stable")
    keys, sorted_hashes = piece[order], hashes[order]
    found: list[Pairs] = []
    step = 1
    # Rows that agree are neighbours: compare each with the next, the one after, … until no two agree.
    while step < len(keys):
        same = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(same):
            break
        near = same[np.bitwise_count(sorted_hashes[same] ^ sorted_hashes[same + step]) <= distance]
        found.append(np.stack([order[near], order[near + step]], axis=1))
        step += 1
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def thumbnail(image: Image.Image) -> Thumbnail:
    """The picture squeezed into uint8 [32, 32, 3]."""
    return np.asarray(image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX, reducing_gap=2.0))


def confirmed(pairs: Pairs, thumbnails: dict[int, Thumbnail]) -> Pairs:
    """The pairs whose thumbnails correlate."""
    kept = [
        correlation(thumbnails[one], thumbnails[two]) >= _LEAST_CORRELATION for one, two in pairs.tolist()
    ]
    return pairs[np.array(kept, dtype=np.bool_)]


def correlation(one: Thumbnail, two: Thumbnail) -> float:
    """Pearson's correlation of all samples, in [-1, 1]; 0 where one of the two is flat."""
    first, second = (small.astype(np.float64).ravel() - small.mean() for small in (one, two))
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm > 0 else 0.0
