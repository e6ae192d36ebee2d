"""What a source is: an ordered, repeatable stream of items, their bytes read on demand.

The order is the source's own and never depends on the machine, so that an interrupted ingest can go on
where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from ecos_core.lake.decode import BadSample
from ecos_core.lake.modality import Examine, examine_image
from ecos_core.lake.sources.facts import Extra
from ecos_core.names import class_name, tidy


@dataclass(frozen=True)
class SourceItem:
    """One candidate sample.

    ``uri``: its address inside the source. ``stamp`` changes when the file does (size and time), where that
    is known without reading. ``load`` gives the bytes or raises BadSample or OSError; it may be called from
    any thread. ``examine`` verifies them and says what they are (``lake.modality``). ``source``, ``licence``
    and ``attribution`` are the item's own, where the source knows them; ``extra`` is what else is known of it.
    ``passed_over``: what it is instead of a sample (hidden, a side file); it is counted under this name, not read.
    """

    uri: str
    load: Callable[[], bytes]
    domain: str | None = None
    label: str | None = None
    stamp: str = ""
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None
    address: str | None = None
    examine: Examine = examine_image
    passed_over: str | None = None
    extra: Mapping[str, Extra] = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """``name`` is recorded with every image unless the user gives another; ``address`` says where it is."""

    @property
    def name(self) -> str:
        """What rows are told to come from, where nobody says otherwise."""
        ...

    @property
    def address(self) -> str:
        """Where it reads from, as recorded with the snapshot."""
        ...

    def count(self) -> int | None:
        """How many items, if that is cheap to know."""
        ...

    def items(self) -> Iterator[SourceItem]:
        """All items in the source's order; may be called again."""
        ...


def refuse(reason: str, detail: str) -> Callable[[], bytes]:
    """A ``load`` for what is known to be bad before it is read."""

    def load() -> bytes:
        raise BadSample(reason, detail)

    return load


def passed(uri: str, reason: str) -> SourceItem:
    """A name in the source that is no sample, by intention: counted, never read."""
    return SourceItem(uri, refuse(reason, "passed over"), passed_over=reason)


def domain_and_label(parts: Sequence[str]) -> tuple[str | None, str | None]:
    """What a path says: ``…/domain/class/file``, ``class/file`` or ``file``."""
    domain = tidy(parts[-3]) if len(parts) > 2 else None
    label = class_name(parts[-2]) if len(parts) > 1 else None
    return domain or None, label
