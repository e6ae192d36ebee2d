"""Files that belong together: ``key.jpg`` with ``key.json``, ``key.cls`` and ``key.txt``, in a tar or in a folder.

WebDataset's rule: what stands before the first dot of the name is the key, and files of one key are one sample.
img2dataset, video2dataset and many scripts write the same files into tars or folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ecos_core.errors import InputError
from ecos_core.lake.decode import BadSample
from ecos_core.lake.modality import Examine, examine_image
from ecos_core.lake.sources.base import SourceItem, domain_and_label, passed, refuse
from ecos_core.lake.sources.facts import Facts, facts_of
from ecos_core.names import readable
from ecos_core.storage.text import decode_text

IMAGE_SUFFIXES = frozenset({
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm", "avif", "jp2",
    "j2k", "jpx", "tga", "ico", "dcm", "dicom",
})  # fmt: skip
TEXT_PARTS = frozenset({"cls", "json", "txt", "text", "caption"})
# What lies beside a picture and is no picture.
_SIDE_PARTS = TEXT_PARTS | {
    "xml", "yaml", "yml", "npy", "npz", "pt", "pth", "pyd", "pickle", "pkl", "mat", "id", "index", "idx", "csv", "tsv",
    "html", "htm", "md", "exif", "xmp", "sha256", "md5",
}  # fmt: skip
# Second pictures that describe the first.
_MASKS = frozenset({"seg", "mask", "segmentation", "labelmap", "depth"})
_ABOUT = frozenset({
    "readme", "license", "licence", "notice", "citation", "copying", "changelog", "dataset_info", "dataset_infos",
    "state", "checksums",
})  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file of a tar or a folder: its path inside, its bytes, its size, and where it can be read again."""

    name: str
    load: Callable[[], bytes]
    stamp: str = ""
    address: str | None = None

    @property
    def key(self) -> str:
        """The path up to the first dot of the file's name."""
        folder, slash, file = self.name.rpartition("/")
        return folder + slash + file.partition(".")[0]

    @property
    def part(self) -> str:
        """What follows the first dot, in lower case."""
        return self.name.rpartition("/")[2].partition(".")[2].lower()

    @property
    def suffix(self) -> str:
        """The ending of its name, in small letters."""
        return self.part.rpartition(".")[2]


def is_about(file: str) -> bool:
    """Whether a file is about the data set and no part of it: README.md, LICENSE, dataset_infos.json."""
    stem, _, suffix = file.lower().partition(".")
    return stem in _ABOUT and suffix in ("", "md", "txt", "rst", "json", "cff", "html")


def sample_items(
    uri: str,
    members: Sequence[Member],
    *,
    facts: Facts | None = None,
    with_folder: bool = True,
    examine: Examine = examine_image,
) -> Iterator[SourceItem]:
    """The items of one sample's files: one for each picture, the others passed over as side files.

    ``facts`` are known from elsewhere (a table of the folder). ``with_folder``: the path gives domain and class where
    the facts do not. A sample without any picture is reported.
    """
    pictures = [member for member in members if not _is_side(member, members)]
    known = _facts(members) if facts is None else facts
    for member in pictures:
        domain, label = domain_and_label(member.name.split("/")) if with_folder else (None, None)
        yield SourceItem(
            readable(f"{uri}/{member.name}"),
            member.load,
            known.domain or domain,
            known.label or label,
            member.stamp,
            known.source,
            known.licence,
            known.attribution,
            member.address,
            examine,
            extra=known.extra,
        )
    if not pictures:
        yield SourceItem(
            readable(f"{uri}/{members[0].key}"), refuse("not_an_image", "a sample without an image")
        )
        return
    for member in members:
        if member not in pictures:
            yield passed(readable(f"{uri}/{member.name}"), "side")


def _is_side(member: Member, members: Sequence[Member]) -> bool:
    if member.suffix in TEXT_PARTS:
        return True
    others = [other for other in members if other is not member and other.suffix in IMAGE_SUFFIXES]
    return bool(others) and (member.suffix in _SIDE_PARTS or member.part.partition(".")[0] in _MASKS)


def _facts(members: Sequence[Member]) -> Facts:
    """What ``.cls``, ``.json`` and captions say; a broken one counts as absent."""
    found: dict[str, object] = {}
    for member in members:
        if member.suffix not in TEXT_PARTS:
            continue
        try:
            text = decode_text(member.load(), member.name)
            if member.part == "json":
                read = json.loads(text)
                found |= read if isinstance(read, dict) else {}
            elif member.part == "cls":
                found["cls"] = text
            elif member.suffix in ("txt", "text", "caption"):
                found.setdefault("caption", text)
        except (ValueError, InputError, BadSample, OSError, RecursionError):
            continue
    return facts_of(found)
