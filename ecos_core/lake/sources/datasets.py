"""Loaders of published layouts: DomainNet with split lists, FedBN's DomainNet-10 and Digits, PACS.

FedBN (Li et al., ICLR 2021) keeps split lists and arrays as pickles. A pickle can run code, so these are
read by an unpickler that builds lists, texts and numpy arrays only.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ecos_core.errors import InputError
from ecos_core.lake.sources.base import SourceItem, refuse
from ecos_core.lake.sources.folder import FolderSource
from ecos_core.storage.text import read_text, text_lines

DOMAINNET_DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
# FedBN's ten classes, in the order of their numbers.
DOMAINNET_TEN = (
    "bird",
    "feather",
    "headphones",
    "ice_cream",
    "teapot",
    "tiger",
    "whale",
    "windmill",
    "wine_glass",
    "zebra",
)
DIGITS_DOMAINS = ("MNIST", "SVHN", "USPS", "SynthDigits", "MNIST_M")
PACS_DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
SPLITS = ("train", "test")


@dataclass(frozen=True)
class DomainNetSource:
    """DomainNet: ``<domain>/<class>/file`` and split lists.

    A list is ``<domain>_<split>.txt`` with lines "path number", or FedBN's ``<domain>_<split>.pkl``.

    Lists are looked for in the folder itself, ``splits/`` and ``split/``. FedBN's paths start with
    ``DomainNet/``. ``ten`` keeps FedBN's ten classes.
    """

    root: Path
    name: str
    split: str | None = None
    ten: bool = True

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return str(self.root.absolute())

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return sum(1 for _ in self.items())

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        lists = sorted(self._lists())
        if not lists:
            raise InputError(
                f"{self.root}: no DomainNet split lists ({DOMAINNET_DOMAINS[0]}_train.txt or .pkl) "
                "in here or in splits/; get them beside the images, or ingest the folder as a plain tree"
            )
        for listing in lists:
            for relative, label in _listed(listing):
                if not self.ten or label in DOMAINNET_TEN:
                    yield self._item(relative, label)

    def _lists(self) -> Iterator[Path]:
        for folder in (self.root, self.root / "splits", self.root / "split"):
            for domain in DOMAINNET_DOMAINS:
                for split in [self.split] if self.split else SPLITS:
                    path = folder / f"{domain}_{split}"
                    yield from (
                        p for p in (path.with_suffix(".txt"), path.with_suffix(".pkl")) if p.is_file()
                    )

    def _item(self, relative: str, label: str) -> SourceItem:
        inside = relative.removeprefix("DomainNet/")
        path = self.root / inside
        uri = f"{self.name}/{inside}"
        domain = inside.partition("/")[0]
        if ".." in Path(inside).parts or Path(inside).is_absolute():
            return SourceItem(
                uri, refuse("unreadable", "a path that leaves the data set's folder"), domain, label
            )
        return SourceItem(uri, path.read_bytes, domain, label, address=str(path.absolute()))


def _listed(listing: Path) -> Iterator[tuple[str, str]]:
    """(path, class name) of a split list; the class is the image's folder."""
    if listing.suffix == ".pkl":
        paths, labels = _safe_pickle(listing)
        yield from ((str(path), str(label)) for path, label in zip(paths, labels, strict=True))
        return
    for line in text_lines(read_text(listing)):
        path = line.rpartition(" ")[0]
        if path:
            yield path, Path(path).parent.name


@dataclass(frozen=True)
class DigitsSource:
    """FedBN's Digits: ``<domain>/train.pkl`` or ``partitions/train_part*.pkl``, and ``test.pkl``.

    Each holds arrays (images uint8 [n, h, w] or [n, h, w, 3], labels [n]); an image becomes a PNG file.
    """

    root: Path
    name: str
    split: str | None = None

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        return str(self.root.absolute())

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return None

    def items(self) -> Iterator[SourceItem]:
        """Every item, in an order that stays the same while the source does."""
        files = [(domain, path) for domain in DIGITS_DOMAINS for path in self._files(self.root / domain)]
        if not files:
            raise InputError(
                f"{self.root}: no digits in FedBN's layout (for example MNIST/train.pkl); give its folder"
            )
        for domain, path in files:
            images, labels = _safe_pickle(path)
            images, labels = np.asarray(images), np.asarray(labels).ravel()
            for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                uri = f"{self.name}/{path.relative_to(self.root)}#{index}"
                yield SourceItem(uri, partial(_png, pixels), domain, str(int(label)))

    def _files(self, folder: Path) -> list[Path]:
        train = sorted((folder / "partitions").glob("train_part*.pkl"))
        if (folder / "train.pkl").is_file():
            train = [folder / "train.pkl"]
        test = [folder / "test.pkl"] if (folder / "test.pkl").is_file() else []
        return {"train": train, "test": test, None: train + test}[self.split]


def pacs_source(root: Path, name: str) -> FolderSource:
    """PACS: ``<domain>/<class>/file``, in the folder itself or in one called PACS or kfold."""
    for folder in (root, root / "PACS", root / "kfold", root / "PACS" / "kfold"):
        if all((folder / domain).is_dir() for domain in PACS_DOMAINS):
            return FolderSource(folder, name)
    raise InputError(f"{root}: no PACS here (folders {', '.join(PACS_DOMAINS)}); get it from its authors")


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class _ArraysOnly(pickle.Unpickler):
    """Builds numpy arrays and plain values; anything else in a pickle is refused."""

    _allowed = frozenset(
        (module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in (
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            (f"{package}.multiarray", "_reconstruct"),
            (f"{package}.multiarray", "scalar"),
            (f"{package}.numeric", "_frombuffer"),
            ("_codecs", "encode"),
        )
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it wants to load {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _safe_pickle(path: Path) -> tuple[Any, Any]:
    """A pair from a pickle, without running code from it. Raises InputError."""
    try:
        with path.open("rb") as file:
            first, second = _ArraysOnly(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise InputError(f"{path}: not a pair of arrays in a harmless pickle ({error})") from error
    return first, second
