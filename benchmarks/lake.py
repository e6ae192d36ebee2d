"""What the lake costs on top of the work itself, and what it saves.

* ``ingest``: against a loop that only reads, hashes, fully decodes and fingerprints the same files in as many
  threads and stores nothing. The difference is a second hash, Parquet, checksums, fsync, manifests and resume
  records. Shards are as large as ingest makes them by itself. The bar is 0.75.
* ``ingest again``: the same source a second time against the first time.
* ``1,000 shards``: extraction of a lake of so many shards, far smaller than ingest makes them, against a loop
  that decodes and forwards the same images in the same batches and keeps nothing. What a shard costs besides
  (Parquet, checksums, fsync, completion record, its part of the manifest) is stated as a share of the computing
  on the smallest shard that ingest closes by its bytes, 8 MiB. The bar is a tenth. The orchestrator's tasks are
  not a shard's but a run's: ``benchmarks.orchestration``.
* ``near-duplicate pairs``: multi-index hashing against comparing all pairs with numpy; the same pairs.

The images are random crops of scikit-image's photographs, 384 px JPEG.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import compare, timed
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import load_extractor
from ecos_core.lake.decode import decode_image
from ecos_core.lake.digits import photographs
from ecos_core.lake.ingest import THREADS, IngestReport, ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.near_pairs import Prints, is_telling, near_pairs
from ecos_core.lake.perceptual_hash import perceptual_hash
from ecos_core.lake.shards import MIN_SHARD_BYTES
from ecos_core.threads import available_cores

SIDE = 384
SHARDS, IMAGES_A_SHARD = 1_000, 8
SHARE_BAR = 0.1
HASHES = 30_000
Row = dict[str, Any]


def run(quick: bool = False) -> list[Row]:
    """The rows; quick ones take seconds and prove nothing."""
    shards, images = (10, 12) if quick else (SHARDS, IMAGES_A_SHARD)
    with tempfile.TemporaryDirectory() as scratch:
        size = write_images(Path(scratch) / "images", shards * images)
        rows = ingest_rows(Path(scratch))
        rows.append(shards_row(Path(scratch), shards, size))
    return [*rows, pairs_row(2_000 if quick else HASHES)]


def ingest_rows(scratch: Path) -> list[Row]:
    """Ingest against the bare loop, then once more."""
    files = sorted((scratch / "images").rglob("*.jpg"))
    _, warm = timed(lambda: bare_loop(files))  # so that both find the files in the page cache
    first, first_s = timed(lambda: into(scratch / "lake", scratch / "images"))
    _, peer_s = timed(lambda: bare_loop(files))
    again, again_s = timed(lambda: into(scratch / "lake", scratch / "images"))
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


def shards_row(scratch: Path, shards: int, size: int) -> Row:
    """Extraction of about ``shards`` shards against decoding and forwarding the same images, ``size`` bytes."""
    into(scratch / "small", scratch / "images", size // shards)
    lake, extractor = Lake.open(scratch / "small"), load_extractor(engine="onnx")
    tables = [lake.read_images(shard, ["bytes"]) for shard in lake.snapshot().shards]
    batches = [table["bytes"].to_pylist() for table in tables]
    images = sum(map(len, batches))
    in_threads(extractor.extract, batches[:4])
    before_s = timed(lambda: in_threads(extractor.extract, batches))[1]
    features, ours_s = timed(lambda: extract_lake(lake, extractor))
    after_s = timed(lambda: in_threads(extractor.extract, batches))[1]
    bare_s = (before_s + after_s) / 2
    shard_s = (ours_s - bare_s) / len(batches)
    compute_s = bare_s / images * MIN_SHARD_BYTES / (size / images)
    share = shard_s / compute_s
    return {
        "name": f"{len(batches):,} shards",
        "ours_s": ours_s,
        "peer": "decode, forward",
        "peer_s": bare_s,
        "images": images,
        "ms_a_shard": 1000 * shard_s,
        "compute_s_of_8_mib": compute_s,
        "ratio": share,
        "bar": SHARE_BAR,
        "same": features.rows == images,
        "ok": share <= SHARE_BAR and features.rows == images,
    }


def in_threads(work: Callable[[Any], Any], items: Sequence[Any]) -> None:
    """Do the work on every item, as many at a time as there are cores."""
    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(work, items):
            pass


def into(lake: Path, images: Path, target_bytes: int | None = None) -> IngestReport:
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
