"""Samples that a list names by their address: a path, a ``file:`` address, a store's, or one of the web."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import unquote

from ecos_core.lake.sources.base import SourceItem, refuse
from ecos_core.lake.sources.web import fetch, is_web
from ecos_core.storage import Location


def addressed(uri: str, path: Any, listing: Location, *, stamp: str = "", **facts: Any) -> SourceItem:
    """An item named by a path or URL; a relative path is looked up beside the list that names it."""
    text = path.strip() if isinstance(path, str) else ""
    if not text:
        return SourceItem(
            uri, refuse("empty", "a row without bytes and without an address"), stamp=stamp, **facts
        )
    try:
        place = _place(text, listing)
    except ValueError as error:
        return SourceItem(uri, refuse("unreadable", f"no address ({error})"[:200]), stamp=stamp, **facts)
    load = partial(fetch, place.url) if is_web(place.url) else place.read_bytes
    return SourceItem(uri, load, **facts, address=place.url, stamp=f"{stamp}-{place.url}")


def _place(text: str, listing: Location) -> Location:
    """Where an address leads; a local path that leads nowhere is tried as Windows and as a web page write it."""
    if "://" in text or text.lower().startswith("file:"):
        return Location.of(text)
    absolute = text.startswith(("/", "~"))
    if not absolute and not listing.is_local:
        return _beside(text, listing)
    written = dict.fromkeys((text, text.replace("\\", "/"), unquote(text), unquote(text.replace("\\", "/"))))
    places = (Location.of(one) if absolute else _beside(one, listing) for one in written)
    first = next(places)
    if len(written) == 1 or _is_there(first):
        return first
    return next((place for place in places if _is_there(place)), first)


def _beside(text: str, listing: Location) -> Location:
    return Location(f"{listing.url.rpartition('/')[0]}/{text}")


def _is_there(place: Location) -> bool:
    try:
        return place.path.exists()
    except OSError:  # a name too long for any file
        return False
