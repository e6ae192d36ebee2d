"""Deterministic splits of one domain into the client's private data, its test set and what stays in the lake.

The split depends on the content and the seed only: not on the order of files, their names or the machine.
The same content is always on one side.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ecos_core.errors import InputError


@dataclass(frozen=True)
class DomainSplit:
    """Keys of the three parts, each sorted by (label, draw); together they are all keys, each once."""

    client: tuple[str, ...]
    test: tuple[str, ...]
    lake: tuple[str, ...]


def split_domain(
    rows: Iterable[tuple[str, str | None]],
    client_fraction: float = 0.4,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> DomainSplit:
    """Split ``(content key, label)`` rows, stratified by label.

    A key is the image's sha256 (or anything else that is the content's own). Inside a label the keys are
    ordered by sha256(seed, key); the first part is the client's, the second the test set, the rest the
    lake's. A key that comes twice counts once, with its first label.

    Raises InputError when the fractions are not in [0, 1] or sum to more than 1.
    """
    if not (0 <= client_fraction <= 1 and 0 <= test_fraction <= 1 and client_fraction + test_fraction <= 1):
        raise InputError(
            f"split: fractions {client_fraction} (client) and {test_fraction} (test) must be in [0, 1] "
            "and sum to at most 1"
        )
    labels: dict[str, str] = {}
    for key, label in rows:
        labels.setdefault(key, label or "")
    by_label: dict[str, list[str]] = defaultdict(list)
    for key, label in labels.items():
        by_label[label].append(key)
    client: list[str] = []
    test: list[str] = []
    lake: list[str] = []
    for label in sorted(by_label):
        drawn = sorted(by_label[label], key=lambda key: (_draw(seed, key), key))
        first = round(client_fraction * len(drawn))
        second = first + round(test_fraction * len(drawn))
        client += drawn[:first]
        test += drawn[first:second]
        lake += drawn[second:]
    return DomainSplit(tuple(client), tuple(test), tuple(lake))


@dataclass(frozen=True)
class FileSplit:
    """Files of the three parts. Two files of equal content are in the same part."""

    client: tuple[Path, ...]
    test: tuple[Path, ...]
    lake: tuple[Path, ...]


def split_files(
    folder: Path, client_fraction: float = 0.4, test_fraction: float = 0.2, seed: int = 0
) -> FileSplit:
    """``split_domain`` over the files of ``folder/class/file``. Raises InputError when there is none."""
    files: dict[str, list[Path]] = defaultdict(list)
    rows: list[tuple[str, str]] = []
    for path in sorted(path for path in folder.glob("*/*") if path.is_file()):
        key = hashlib.sha256(path.read_bytes()).hexdigest()
        files[key].append(path)
        rows.append((key, path.parent.name))
    if not rows:
        raise InputError(f"{folder}: no class/file tree here to split; give a folder of one domain")
    parts = split_domain(rows, client_fraction, test_fraction, seed)

    def paths(keys: tuple[str, ...]) -> tuple[Path, ...]:
        return tuple(path for key in keys for path in files[key])

    return FileSplit(paths(parts.client), paths(parts.test), paths(parts.lake))


def _draw(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
