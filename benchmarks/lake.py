"""What the lake costs on top of the work itself, and what it saves.

* ``ingest``: against a loop that only reads, hashes, fully decodes and fingerprints the same files in as many
  threads and stores nothing. The difference is a second hash, Parquet, checksums, fsync, manifests and resume
  records: 0.5 ms an image of 60 KB beside 2 ms of decoding on the machine where this was written, much of it
  in the background. The bar is 0.75.
* ``ingest again``: the same source a second time against the first time.
* ``near-duplicate pairs``: multi-index hashing against comparing all pairs with numpy; the same pairs.

The images are random crops of scikit-image's photographs, 384 px JPEG.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import compare, timed
from ecos_core.lake.decode import decode_image
from ecos_core.lake.digits import photographs
from ecos_core.lake.ingest import THREADS, IngestReport, ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.near_pairs import Prints, is_telling, near_pairs
from ecos_core.lake.perceptual_hash import perceptual_hash

SIDE = 384
SHARDS, IMAGES_A_SHARD = 100, 100
HASHES = 30_000
Row = dict[str, Any]


def run(quick: bool = False) -> list[Row]:
    """The rows; quick ones take seconds and prove nothing."""
    shards, images = (10, 12) if quick else (SHARDS, IMAGES_A_SHARD)
    with tempfile.TemporaryDirectory() as scratch:
        rows = ingest_rows(Path(scratch), shards, images)
    return [*rows, pairs_row(2_000 if quick else HASHES)]


def ingest_rows(scratch: Path, shards: int, images_a_shard: int) -> list[Row]:
    """Ingest into about ``shards`` shards against the bare loop, then once more."""
    size = write_images(scratch / "images", shards * images_a_shard)
    target = size // shards
    files = sorted((scratch / "images").rglob("*.jpg"))
    _, warm = timed(lambda: bare_loop(files))  # so that both find the files in the page cache
    first, first_s = timed(lambda: into(scratch / "lake", scratch / "images", target))
    _, peer_s = timed(lambda: bare_loop(files))
    again, again_s = timed(lambda: into(scratch / "lake", scratch / "images", target))
    made = len(Lake.open(scratch / "lake").snapshot().shards)
    return [
        compare(
            "ingest",
            first_s,
            "read, sha256 and decode in threads",
            min(warm, peer_s),
            0.75,
            same=first.items == len(files),
            images=len(files),
            shards=made,
        ),
        compare(
            "ingest again", again_s, "the first ingest", first_s, 3.0, same=again.duplicates == len(files)
        ),
    ]


def into(lake: Path, images: Path, target_bytes: int) -> IngestReport:
    return ingest(images, Lake.open_or_create(lake), target_bytes=target_bytes)


def bare_loop(files: list[Path]) -> int:
    """Read, hash, decode and fingerprint every file; keep nothing."""

    def one(path: Path) -> int:
        data = path.read_bytes()
        hashlib.sha256(data).digest()
        return perceptual_hash(decode_image(data).image)

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(1 for _ in pool.map(one, files))


def write_images(folder: Path, count: int) -> int:
    """``count`` JPEG files of random crops; returns their bytes together."""
    rng = np.random.default_rng(0)
    sources = [photo for photo in photographs() if min(photo.shape[:2]) > SIDE]
    size = 0
    for index in range(count):
        photo = sources[rng.integers(len(sources))]
        top, left = rng.integers(photo.shape[0] - SIDE), rng.integers(photo.shape[1] - SIDE)
        buffer = io.BytesIO()
        Image.fromarray(photo[top : top + SIDE, left : left + SIDE]).save(buffer, "JPEG", quality=90)
        path = folder / f"class{index % 10}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        size += len(buffer.getvalue())
    return size


def pairs_row(count: int, distance: int = 4) -> Row:
    """Random hashes, a hundredth of them copies with up to six bits changed."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for row in range(count // 100):
        bits = rng.choice(64, rng.integers(0, 7), replace=False).astype(np.uint64)
        hashes[row] = hashes[-1 - row] ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))
    prints = Prints(hashes, np.ones(count))
    found, ours_s = timed(lambda: near_pairs(prints, distance))
    expected, peer_s = timed(lambda: all_pairs(hashes, distance))
    same = set(map(tuple, found.tolist())) == expected
    return compare("near-duplicate pairs", ours_s, "all pairs, numpy", peer_s, 5.0, same=same, hashes=count)


def all_pairs(hashes: np.ndarray[Any, np.dtype[np.uint64]], distance: int) -> set[tuple[int, int]]:
    """Compare every hash with all later ones."""
    telling = is_telling(hashes)
    found: set[tuple[int, int]] = set()
    for row in np.flatnonzero(telling).tolist():
        near = np.flatnonzero(np.bitwise_count(hashes[row + 1 :] ^ hashes[row]) <= distance) + row + 1
        found |= {(row, int(other)) for other in near if telling[other]}
    return found
