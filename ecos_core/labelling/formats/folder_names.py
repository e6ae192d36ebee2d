"""Names of folders and files that stand for labels and people."""

from __future__ import annotations

from urllib.parse import quote

SEPARATE, UNLABELLED = "_suggested", "_unlabelled"


def folder_for(label: str | None) -> str:
    """The folder of a label; a slash, a leading dot and the names of our own folders are escaped."""
    if label is None:
        return UNLABELLED
    escaped = quote(label, safe=" +,;=@()")
    if escaped.startswith(".") or escaped in (UNLABELLED, SEPARATE):
        return f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return escaped
