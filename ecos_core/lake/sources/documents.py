"""Documents: a tree of text files, records in JSON lines or Parquet (FineWeb, C4, Dolma), or both in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ecos_core.errors import InputError
from ecos_core.lake.modality import examine_text
from ecos_core.lake.sources.base import Source, SourceItem, refuse
from ecos_core.lake.sources.columns import TableSource
from ecos_core.lake.sources.folder import BucketSource, FolderSource
from ecos_core.lake.sources.layouts import Shards, is_page, shards, text_files
from ecos_core.lake.sources.row_files import ARROW, LINES, PARQUET
from ecos_core.lake.sources.row_files import SUFFIXES as ROW_SUFFIXES
from ecos_core.storage import Location


def document_source(location: Location, name: str, split: str | None = None) -> Source:
    """The documents at an address. Raises InputError when it is a single file of no known kind."""
    if location.name.lower().endswith((*ROW_SUFFIXES, ".json")) and not _is_folder(location):
        return TableSource(((location.name, location),), name, location.url, "text")
    if location.is_local and not location.path.is_dir():
        raise InputError(
            f"{location}: one text is no lake; give its folder, or JSON lines or Parquet of documents"
        )
    if split is not None:
        found = shards(location, (*PARQUET, *ARROW, *LINES), split)
        return TableSource(found.files, name, location.url, "text", found.side)
    records, side = text_files(location)
    tree: Source
    if location.is_local:
        tree = FolderSource(location.path, name, examine_text, side=side)
    else:
        tree = BucketSource(location, name, examine_text, side=side)
    return DocumentSource(tree, records)


def _is_folder(location: Location) -> bool:
    return location.is_local and location.path.is_dir()


@dataclass(frozen=True)
class DocumentSource:
    """A folder of documents: texts of their own first, then the files of records."""

    tree: Source
    records: Shards | None

    @property
    def name(self) -> str:
        """What origins call the source."""
        return self.tree.name

    @property
    def address(self) -> str:
        """Where the documents lie."""
        return self.tree.address

    def count(self) -> int | None:
        """How many items there are; None where only reading tells."""
        return self.tree.count() if self.records is None else None

    def items(self) -> Iterator[SourceItem]:
        """Every document, in an order that stays the same while the source does."""
        own = set() if self.records is None else {name for name, _ in self.records.files}
        for item in self.tree.items():
            inside = item.uri.removeprefix(f"{self.name}/")
            if item.passed_over is None and is_page(inside):
                yield SourceItem(
                    item.uri, refuse("not_a_text", "markup or data; take the text out of it first")
                )
            elif inside not in own:
                yield item
        if self.records is not None:
            yield from TableSource(self.records.files, self.name, self.address, "text").items()
