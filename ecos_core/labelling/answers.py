"""What comes back from labellers: first as their tool's file says it, then held against the hand-off."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What an answer is worth. Only ``labelled`` counts; the others are kept and counted by name."""

    LABELLED = "labelled"
    CANCELLED = "cancelled"
    EMPTY = "empty"
    SEVERAL = "several labels"
    SUGGESTED = "unchanged first answer"
    UNREADABLE = "unreadable entry"
    UNKNOWN = "unknown sample"


@dataclass(frozen=True)
class Said:
    """One entry of a returned file, in the tool's own words.

    ``sample``: an id, a file name, a path or an address; ``who``: every name the file has for the person (id, mail,
    name), none where it has none; ``by_person``: False where the file cannot tell a person's label from a first answer
    that was only carried through; ``created_at``: ISO 8601, or None where the tool does not say; ``trouble``: why the
    entry cannot be read.
    """

    sample: str
    labels: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    by_person: bool = True
    skipped: bool = False
    created_at: str | None = None
    reference: str | None = None
    trouble: str | None = None


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one task of a hand-off. Several labels are kept, joined by ``|``, but do not count."""

    sample_id: str
    label: str | None
    annotator: str
    status: Status = Status.LABELLED
    created_at: str | None = None
    reference: str | None = None
