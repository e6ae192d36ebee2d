"""The private images: what lies in the owner's folder, and the features of each, cached in the client's home.

A record is a distinct content; where units are given, a distinct content of a unit: equal files of one unit are one
record, of two units two. Its label is what its own files say, and none where they disagree: so one file less takes a
record away, or a label from it, or gives it one, and touches no other record. Its feature is extracted from its content
alone, one at a time: a product over a batch has other low bits for the same image among other images.

Everything here is private and stays on the client: file names, labels, counts and features. Names of files
that hold them begin with ``private_``.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecos_core.client.owners import units_of
from ecos_core.errors import InputError
from ecos_core.names import class_name
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, sha256_hex
from ecos_core.storage.folders import files_below
from ecos_core.storage.text import read_text, text_lines

PART = 512  # images whose features are lost at most when the work is interrupted
IMAGE_BYTES_LIMIT = 256 * 2**20
CACHE_VERSION = 2  # 1: features were extracted in batches


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
    """One content of the owner's: the first file that holds it, what it was when the home was made, its class (None:
    none, or its files disagree) and its unit (its content's digest where no units were given)."""

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
    ``file,unit`` that says whose image each one is (default: each content is its own). Raises InputError when there is
    nothing, or the table has a gap (``owners``).
    """
    found = []
    for scanned in _rows(folder) if is_table(folder) else _files(folder):
        found.append(scanned)
        progress(Progress("read private images", len(found), None, "images"))
    if not found:
        raise InputError(f"{folder}: no files in it; give a folder of images, or a CSV of rows")
    names = [name for name, _, _ in found]
    owners = None if units is None else units_of(names, units, "file")
    first: dict[tuple[str, str], str] = {}
    labels: dict[tuple[str, str], set[str | None]] = {}
    for number, (name, label, digest) in enumerate(found):
        key = (owners[number] if owners else digest, digest)
        first.setdefault(key, name)
        labels.setdefault(key, set()).add(label)
    return [
        PrivateRecord(name, digest, _agreed(labels[unit, digest]), unit)
        for (unit, digest), name in first.items()
    ]


def _agreed(labels: set[str | None]) -> str | None:
    """The one label that a content's files say; None where they say none, or several."""
    said = labels - {None}
    return said.pop() if len(said) == 1 else None


def is_table(images: Path) -> bool:
    """Whether the private data are the rows of a table."""
    return images.suffix.lower() == ".csv" and images.is_file()


def _files(folder: Path) -> Iterator[tuple[str, str | None, str]]:
    """(name, class, sha256) of every file under a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    for parts in files_below(folder)[0]:
        label = class_name(parts[-2]) if len(parts) > 1 else None
        yield "/".join(parts), label, _file_digest(folder.joinpath(*parts))


def _rows(table: Path) -> Iterator[tuple[str, str | None, str]]:
    """(name, class, sha256) of every row of a table."""
    from ecos_core.lake.sources.rows import read_rows

    for row in read_rows(Location.of(table)):
        yield f"{table.name}#{row.number}", row.facts.label, sha256_hex(row.data)


def write_records(path: Path, records: Sequence[PrivateRecord]) -> None:
    """Write the private records, one JSON line each, atomically."""
    lines = [json.dumps(asdict(record)) for record in records]
    Location.of(path).write_bytes("\n".join(lines).encode())


def read_records(path: Path) -> list[PrivateRecord]:
    """The private records, in their order."""
    return [PrivateRecord(**json.loads(line)) for line in text_lines(read_text(path))]


def build_features(
    cache: Path,
    images: Path,
    records: Sequence[PrivateRecord],
    source: FeatureSource,
    progress: ProgressSink = silent,
) -> None:
    """Extract what is missing of ``cache`` (one folder a fingerprint). Safe to interrupt and to run again.

    An image that cannot be read, or is not the one recorded, is set aside and counted. A finished cache of an earlier
    version is made anew beside it, once, when all its images are there; when not, it stays.
    """
    aside = cache.with_name(f"{cache.name}.new")
    if is_complete(cache) and not is_current(cache) and all(_exists(images, record) for record in records):
        _build(aside, images, records, source, progress)
        shutil.rmtree(cache)
    if not is_complete(cache) and is_complete(aside):
        shutil.rmtree(cache, ignore_errors=True)
        aside.rename(cache)
    if not is_complete(cache):
        _build(cache, images, records, source, progress)


def _build(
    cache: Path,
    images: Path,
    records: Sequence[PrivateRecord],
    source: FeatureSource,
    progress: ProgressSink,
) -> None:
    if is_complete(cache):
        return
    parts = cache / f"parts-{CACHE_VERSION}"
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


def is_current(cache: Path) -> bool:
    """Whether each of a finished cache's features was made from its image alone."""
    mark = cache / "private_cache.json"
    return mark.exists() and json.loads(mark.read_text())["version"] >= CACHE_VERSION


def _exists(images: Path, record: PrivateRecord) -> bool:
    return images.is_file() if is_table(images) else (images / record.file).is_file()


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
    for row in rows:
        content, reason = read(records[row])
        feature = reason if content is None else _extract(content, source)
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


def _extract(content: bytes, source: FeatureSource) -> npt.NDArray[np.float32] | str:
    """The feature of one content, a function of it alone; or why it has none."""
    try:
        (feature,) = source.extract([content])
    except Exception:  # whatever one image does to a decoder, it is set aside alone
        return "not a readable image"
    return feature.astype(np.float32) if np.isfinite(feature).all() else "its features are not finite"


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
    (cache / "private_cache.json").write_text(json.dumps({"version": CACHE_VERSION}))
    np.save(cache / "private_rows.npy", rows)
    temporary = cache / ".tmp-features.npy"
    np.save(temporary, np.ascontiguousarray(features, np.float32))
    temporary.replace(cache / "private_features.npy")


def _file_digest(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
