"""The demo's images: built once, then split into what the client owns, its test set, and the lake."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.lake.digits import DOMAINS, build_digits
from ecos_core.lake.splits import split_files
from ecos_core.progress import ProgressSink


@dataclass(frozen=True)
class DemoData:
    """``folder`` holds ``private/class/file`` (the client's), ``test/…`` and ``lake-images/domain/class/file``."""

    folder: Path


def check_domain(client: str) -> None:
    """Raises InputError for a domain that the demo does not have."""
    if client not in DOMAINS:
        raise InputError(f"--client {client}: the demo's domains are {', '.join(DOMAINS)}")


def prepare(home: Path, client: str, progress: ProgressSink) -> DemoData:
    """Build and split; what is there already is kept."""
    digits = home / "digits"
    if not digits.exists():
        building = home / ".tmp-digits"
        shutil.rmtree(building, ignore_errors=True)
        build_digits(building, progress=progress)
        building.rename(digits)
    folder = home / client
    if not (folder / "lake-images").exists():
        _split(digits, client, folder)
    return DemoData(folder)


def _split(digits: Path, client: str, folder: Path) -> None:
    parts = split_files(digits / client)
    shutil.rmtree(folder / ".tmp-lake-images", ignore_errors=True)
    _link(parts.client, digits / client, folder / "private")
    _link(parts.test, digits / client, folder / "test")
    _link(parts.lake, digits / client, folder / ".tmp-lake-images" / client)
    for domain in DOMAINS:
        if domain != client:
            _link((digits / domain).glob("*/*"), digits / domain, folder / ".tmp-lake-images" / domain)
    (folder / ".tmp-lake-images").rename(folder / "lake-images")


def _link(files: Iterable[Path], root: Path, target: Path) -> None:
    for file in files:
        place = target / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            continue
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)
