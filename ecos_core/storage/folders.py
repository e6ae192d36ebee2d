"""One walk over the files that a person keeps in a folder: for the lake, the client's images, test sets and leaks.

Links to files and folders are followed, each where it lies; a link to a folder above itself is a loop and is not.
Hidden names (``.trash``, ``.git``, ``._photo.jpg``) and what operating systems and servers leave behind are passed
over. Nothing is passed over in silence: the walk gives every such name with its reason.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecos_core.errors import InputError

# Windows, macOS, Synology and QNAP, ext4.
SYSTEM_NAMES = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx", "icon\r",
    "@eadir", "#recycle", "@recycle", "lost+found",
})  # fmt: skip
# What is passed over on purpose; the others are faults of the folder.
ON_PURPOSE = frozenset({"hidden", "system", "lake"})
_WORDS = {
    "hidden": "hidden",
    "system": "left by an operating system",
    "lake": "a lake",
    "loop": "a link to a folder above itself",
    "broken": "a link to nothing",
    "special": "no regular file",
    "unreadable": "cannot be opened",
}


@dataclass(frozen=True)
class Entry:
    """A file by the parts of its path below the root; or, with ``left_out``, a name that is not read, and why.

    ``left_out`` is one of ``hidden``, ``system``, ``lake``, ``loop``, ``broken``, ``special`` and ``unreadable``
    (a folder that cannot be listed); ``detail`` is what the system said.
    """

    parts: tuple[str, ...]
    left_out: str | None = None
    detail: str = ""


def passed_over(name: str) -> str | None:
    """Why a file or folder of this name is passed over wherever it lies: ``hidden`` or ``system``."""
    if name.lower() in SYSTEM_NAMES:
        return "system"
    return "hidden" if name.startswith(".") else None


def walk_files(root: Path) -> Iterator[Entry]:
    """Everything below ``root``, depth first, names in the order of their code points. Raises nothing."""
    waiting: list[tuple[tuple[str, ...], frozenset[tuple[int, int]], bool]] = [((), frozenset(), True)]
    while waiting:
        parts, above, is_folder = waiting.pop()
        place = root.joinpath(*parts)
        if not is_folder:
            yield _file(place, parts)
            continue
        try:
            status = place.stat()
            with os.scandir(place) as entries:
                found = sorted((entry.name, _is_folder(entry)) for entry in entries)
        except OSError as error:
            yield Entry(parts, "unreadable", f"folder: {error.strerror}")
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            yield Entry(parts, "loop", "a link to a folder above itself")
            continue
        if ("lake.json", False) in found:
            yield Entry(parts, "lake", "a lake is no source")
            continue
        for name, _ in found:
            if reason := passed_over(name):
                yield Entry((*parts, name), reason)
        below = above | {identity}
        waiting += [
            ((*parts, name), below, folder) for name, folder in reversed(found) if not passed_over(name)
        ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _file(place: Path, parts: tuple[str, ...]) -> Entry:
    try:
        mode = place.stat().st_mode
    except OSError as error:
        link = place.is_symlink()
        return Entry(parts, "broken" if link else "unreadable", error.strerror or "cannot be opened")
    return Entry(parts) if stat.S_ISREG(mode) else Entry(parts, "special", "not a regular file")


def files_below(root: Path) -> tuple[list[tuple[str, ...]], Counter[str]]:
    """The files below a folder by the parts of their paths, sorted, and how many names were left out by reason.

    Raises InputError when there is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    files: list[tuple[str, ...]] = []
    left_out: Counter[str] = Counter()
    for entry in walk_files(root):
        if entry.left_out is None:
            files.append(entry.parts)
        else:
            left_out[entry.left_out] += 1
    return sorted(files), left_out


def in_words(left_out: Mapping[str, int]) -> str:
    """``2 hidden, 1 left by an operating system``; empty where nothing was left out."""
    return ", ".join(f"{left_out[name]:,} {_WORDS.get(name, name)}" for name in sorted(left_out))


def passed_over_path(parts: Sequence[str]) -> str | None:
    """``passed_over`` for a whole path, as an archive or an object store lists it."""
    return next((reason for part in parts if (reason := passed_over(part))), None)
