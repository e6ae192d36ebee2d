"""What comes back from labellers, whatever tool they used."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What an answer is worth. Only ``labelled`` counts; the others are kept and counted by name."""

    LABELLED = "labelled"
    CANCELLED = "cancelled"
    EMPTY = "empty"
    SEVERAL = "several labels"
    UNKNOWN = "unknown sample"


@dataclass(frozen=True)
class Answer:
    """One annotator's answer to one task. ``created_at`` is ISO 8601, or None where the tool does not say."""

    sample_id: str
    label: str | None
    annotator: str
    status: Status = Status.LABELLED
    created_at: str | None = None
    reference: str | None = None

    @classmethod
    def of_labels(
        cls,
        sample_id: str,
        labels: list[str],
        annotator: str,
        created_at: str | None = None,
        reference: str | None = None,
    ) -> Answer:
        """An answer with none, one or several labels; several are kept, joined by ``|``, but do not count."""
        found = [label for label in dict.fromkeys(labels) if label]
        status = (Status.EMPTY, Status.LABELLED)[len(found)] if len(found) < 2 else Status.SEVERAL
        return cls(sample_id, "|".join(found) or None, annotator, status, created_at, reference)
