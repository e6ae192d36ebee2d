"""Labelled images of several domains as a file of features, made once for each content and extractor."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.grid import ImageSet
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import canonical_json, sha256_hex

BATCH = 256
# domain, class, the file's bytes
Labelled = tuple[str, str, bytes]


@dataclass(frozen=True)
class PictureSet:
    """A labelled data set of pictures by its ``name``; ``read(home)`` may make under ``home`` what is not there
    yet."""

    name: str
    read: Callable[[Path], Iterable[Labelled]]

    def features(self, home: Path, *, image_size: int, progress: ProgressSink = silent) -> Path:
        """The file of features of all pictures at ``image_size`` pixels, made once."""
        return feature_file(self.name, self.read(home), home, image_size=image_size, progress=progress)


def read_tree(folder: Path, domains: Iterable[str]) -> Iterator[Labelled]:
    """Every file of ``folder/domain/class/file``, sorted by path."""
    for path in sorted(
        path for domain in domains for path in (folder / domain).glob("*/*") if path.is_file()
    ):
        yield path.parent.parent.name, path.parent.name, path.read_bytes()


def read_tar(path: Path) -> Iterator[Labelled]:
    """Every file of a tar of ``…/domain/class/file``, sorted by name."""
    with tarfile.open(path) as archive:
        for member in sorted(
            (member for member in archive if member.isfile()), key=lambda member: member.name
        ):
            domain, label = member.name.split("/")[-3:-1]
            file = archive.extractfile(member)
            assert file is not None
            yield domain, label, file.read()


def feature_file(
    name: str, images: Iterable[Labelled], home: Path, *, image_size: int, progress: ProgressSink = silent
) -> Path:
    """The ``ImageSet`` file under ``home/bench/features``; of equal contents the first stays."""
    from ecos_core.features.extractor import load_extractor

    extractor = load_extractor(image_size=image_size)
    unique: dict[str, Labelled] = {}
    for image in images:
        unique.setdefault(sha256_hex(image[2]), image)
    ids = sorted(unique)
    content = sha256_hex(canonical_json([[key, *unique[key][:2]] for key in ids]))
    path = home / "bench" / "features" / f"{name}-{content[:16]}-{extractor.fingerprint[:16]}.npz"
    if path.exists():
        return path
    blocks = []
    for start in range(0, len(ids), BATCH):
        progress(Progress("features", start, len(ids), "images"))
        blocks.append(extractor.extract([unique[key][2] for key in ids[start : start + BATCH]]))
    progress(Progress("features", len(ids), len(ids), "images"))
    labels, domains = ([unique[key][column] for key in ids] for column in (1, 0))
    digest = sha256_hex(f"{content} {extractor.fingerprint}".encode())
    ImageSet(np.array(ids), np.concatenate(blocks), np.array(labels), np.array(domains), digest).save(path)
    return path
