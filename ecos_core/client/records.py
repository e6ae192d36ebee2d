"""The private images: what lies in the owner's folder, and the features of each, cached in the client's home.

Everything here is private and stays on the client: file names, labels, counts and features. Names of files
that hold them begin with ``private_``.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecos_core.errors import EcosError, InputError
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, sha256_hex

BATCH = 32
PART = 512  # images whose features are lost at most when the work is interrupted
IMAGE_BYTES_LIMIT = 256 * 2**20


class FeatureSource(Protocol):
    """What makes features: an extractor agreed with the lake."""

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a feature."""
        ...

    def extract(self, images: list[bytes]) -> npt.NDArray[np.float32]:
        """Features float32 [n, d] of image files."""
        ...


@dataclass(frozen=True)
class PrivateRecord:
    """One image of the owner's: where it is, what it was when the home was made, its class and its unit."""

    file: str
    sha256: str
    label: str | None
    unit: str


@dataclass(frozen=True)
class PrivateFeatures:
    """Cached features float32 [n, d] (memory-mapped), and for each row its record's label and unit number."""

    features: npt.NDArray[np.float32]
    labels: Sequence[str | None]
    units: npt.NDArray[np.int64]
    set_aside: dict[str, int] = field(default_factory=dict)


# A record's content, or None and why it is set aside.
Reader = Callable[[PrivateRecord], tuple[bytes | None, str]]


def scan_images(
    folder: Path, units: Path | None = None, progress: ProgressSink = silent
) -> list[PrivateRecord]:
    """List the images under ``folder``: flat, ``class/file`` or ``domain/class/file``; the class is the
    file's folder.

    A CSV instead of a folder: each of its rows is a sample, named ``NAME.csv#1`` and so on. ``units``: a CSV of
    ``file,unit`` that says whose image each one is (default: each is its own). Equal files are kept once, as one
    record. Raises InputError when there is nothing, or the table misses a file.
    """
    found = list(_rows(folder) if is_table(folder) else _files(folder))
    if not found:
        raise InputError(f"{folder}: no files in it; give a folder of images, or a CSV of rows")
    owners = None if units is None else read_units(units)
    records: dict[str, PrivateRecord] = {}
    for number, (name, label, digest) in enumerate(found, start=1):
        if owners is not None and name not in owners:
            raise InputError(
                f"{units}: says nothing about a file of the images folder; every file needs its unit"
            )
        records.setdefault(digest, PrivateRecord(name, digest, label, owners[name] if owners else digest))
        progress(Progress("read private images", number, len(found), "images"))
    return list(records.values())


def is_table(images: Path) -> bool:
    """Whether the private data are the rows of a table."""
    return images.suffix.lower() == ".csv" and images.is_file()


def _files(folder: Path) -> Iterator[tuple[str, str | None, str]]:
    """(name, class, sha256) of every file under a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    ):
        label = path.parent.name if path.parent != folder else None
        yield path.relative_to(folder).as_posix(), label, _file_digest(path)


def _rows(table: Path) -> Iterator[tuple[str, str | None, str]]:
    """(name, class, sha256) of every row of a table."""
    from ecos_core.lake.sources.rows import read_rows

    for row in read_rows(Location.of(table)):
        yield f"{table.name}#{row.number}", row.facts.get("label"), sha256_hex(row.data)


def read_units(path: Path) -> dict[str, str]:
    """The unit of each file, from a CSV with the columns ``file`` and ``unit``."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a CSV in UTF-8") from error
    if not rows or not {"file", "unit"} <= set(rows[0]):
        raise InputError(f"{path}: a CSV with the columns 'file' and 'unit' is needed")
    return {row["file"]: row["unit"] for row in rows}


def write_records(path: Path, records: Sequence[PrivateRecord]) -> None:
    """Write the private records as JSON lines, atomically."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) for record in records]
    Location.of(path).write_bytes("\n".join(lines).encode())


def read_records(path: Path) -> list[PrivateRecord]:
    """Read the private records back, in their order."""
    return [PrivateRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def build_features(
    cache: Path,
    images: Path,
    records: Sequence[PrivateRecord],
    source: FeatureSource,
    progress: ProgressSink = silent,
) -> None:
    """Extract what is missing of ``cache`` (one folder a fingerprint). Safe to interrupt and to run again.

    An image that cannot be read, or is not the one recorded, is set aside and counted.
    """
    if is_complete(cache):
        return
    parts = cache / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    failures = 0
    read = _reader(images)
    for start in range(0, len(records), PART):
        part = parts / f"{start:09d}.npz"
        if not part.exists():
            _write_part(part, read, records, range(start, min(start + PART, len(records))), source)
        with np.load(part) as saved:
            failures += int(saved["failed"].size)
        progress(
            Progress("private features", min(start + PART, len(records)), len(records), "images", failures)
        )
    _join_parts(cache, sorted(parts.iterdir()), source.dimension)
    shutil.rmtree(parts)


def is_complete(cache: Path) -> bool:
    """Whether the features of a cache are all there."""
    return (cache / "private_features.npy").exists()


def load_features(cache: Path, records: Sequence[PrivateRecord]) -> PrivateFeatures:
    """Memory-map a finished cache. Raises InputError when it is not finished."""
    if not is_complete(cache):
        raise InputError(
            f"{cache}: the private features are not finished; run `ecos client init` again to go on"
        )
    rows = np.load(cache / "private_rows.npy")
    kept = [records[row] for row in rows]
    _, units = np.unique([record.unit for record in kept] or [""], return_inverse=True)
    return PrivateFeatures(
        features=np.load(cache / "private_features.npy", mmap_mode="r"),
        labels=[record.label for record in kept],
        units=units[: len(kept)].astype(np.int64),
        set_aside=json.loads((cache / "private_set_aside.json").read_text()),
    )


def store_features(cache: Path, features: npt.NDArray[np.float32]) -> None:
    """Put features that were made elsewhere into the cache, row i for record i."""
    cache.mkdir(parents=True, exist_ok=True)
    _write_cache(cache, features, np.arange(len(features)), {})


def _write_part(
    part: Path, read: Reader, records: Sequence[PrivateRecord], rows: range, source: FeatureSource
) -> None:
    features, kept, failed, reasons = [], [], [], []
    for start in range(rows.start, rows.stop, BATCH):
        batch: list[tuple[int, bytes]] = []
        for row in range(start, min(start + BATCH, rows.stop)):
            content, reason = read(records[row])
            if content is None:
                failed.append(row)
                reasons.append(reason)
            else:
                batch.append((row, content))
        for row, feature in _extract(batch, source):
            if isinstance(feature, str):
                failed.append(row)
                reasons.append(feature)
            else:
                kept.append(row)
                features.append(feature)
    table = np.stack(features) if features else np.empty((0, source.dimension), np.float32)
    temporary = part.with_name(".tmp-part.npz")
    np.savez(
        temporary,
        features=table,
        rows=np.array(kept, np.int64),
        failed=np.array(failed, np.int64),
        reasons=reasons,
    )
    temporary.replace(part)


def _reader(images: Path) -> Reader:
    """What gives a record's content, or the reason why there is none."""
    if not is_table(images):
        return lambda record: _read(images / record.file, record.sha256)
    from ecos_core.lake.sources.rows import read_rows

    rows = {f"{images.name}#{row.number}": row.data for row in read_rows(Location.of(images))}

    def read(record: PrivateRecord) -> tuple[bytes | None, str]:
        content = rows.get(record.file)
        if content is None:
            return None, "cannot be read"
        same = sha256_hex(content) == record.sha256
        return (content, "") if same else (None, "changed since the home was made")

    return read


def _read(path: Path, digest: str) -> tuple[bytes | None, str]:
    try:
        if path.stat().st_size > IMAGE_BYTES_LIMIT:
            return None, "too large"
        content = path.read_bytes()
    except OSError:
        return None, "cannot be read"
    return (content, "") if sha256_hex(content) == digest else (None, "changed since the home was made")


def _extract(
    batch: Sequence[tuple[int, bytes]], source: FeatureSource
) -> list[tuple[int, npt.NDArray[np.float32] | str]]:
    """Features of a batch; when one image spoils it, image by image."""
    if not batch:
        return []
    try:
        table = source.extract([content for _, content in batch])
    except (EcosError, OSError, ValueError):
        if len(batch) == 1:
            return [(batch[0][0], "not a readable image")]
        return [result for item in batch for result in _extract([item], source)]
    found: list[tuple[int, npt.NDArray[np.float32] | str]] = []
    for (row, _), feature in zip(batch, table, strict=True):
        finite = bool(np.isfinite(feature).all())
        found.append((row, feature.astype(np.float32) if finite else "its features are not finite"))
    return found


def _join_parts(cache: Path, parts: Sequence[Path], dimension: int) -> None:
    tables, rows, reasons = [np.empty((0, dimension), np.float32)], [np.empty(0, np.int64)], Counter[str]()
    for part in parts:
        if part.name.startswith("."):
            continue
        with np.load(part) as saved:
            tables.append(saved["features"])
            rows.append(saved["rows"])
            reasons.update(saved["reasons"].tolist())
    _write_cache(cache, np.concatenate(tables), np.concatenate(rows), dict(reasons))


def _write_cache(
    cache: Path, features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], reasons: dict[str, int]
) -> None:
    (cache / "private_set_aside.json").write_text(json.dumps(reasons))
    np.save(cache / "private_rows.npy", rows)
    temporary = cache / ".tmp-features.npy"
    np.save(temporary, np.ascontiguousarray(features, np.float32))
    temporary.replace(cache / "private_features.npy")


def _file_digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
