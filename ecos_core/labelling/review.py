"""A table of everything a person should look at again; filled in, it comes back as a final import."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ecos_core.labelling.agreement import Suspect
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.labels import LabelStore
from ecos_core.labelling.resolution import OUTSIDE, Resolution
from ecos_core.labelling.status import torn_groups
from ecos_core.storage import Location

REVIEW_COLUMNS = ["sample_id", "image", "why", "votes", "suggested", "label", "annotator"]


@dataclass(frozen=True)
class _Reason:
    why: str
    suggested: str = ""


def write_review(
    handoff: str | PathLike[str] | Location,
    labels: str | PathLike[str] | Location,
    out: str | PathLike[str],
    suspects: Sequence[Suspect] = (),
) -> int:
    """Write the table and return its rows: conflicts first, then several labels at once, outvoted, withdrawn and
    outside ones, near-duplicates with different labels, suspected errors. Each sample once, with its first reason.
    """
    given = Handoff.open(handoff)
    found = LabelStore.at(labels).resolve()
    images = {task.sample_id: task.image for task in given.tasks}
    reasons: dict[str, _Reason] = {}
    for sample_id, reason in _reasons(given, found, suspects):
        if sample_id in images:
            reasons.setdefault(sample_id, reason)
    with Path(out).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REVIEW_COLUMNS)
        for id, reason in reasons.items():
            writer.writerow([id, images[id], reason.why, _votes(id, found), reason.suggested, "", ""])
    return len(reasons)


def _reasons(given: Handoff, found: Resolution, suspects: Sequence[Suspect]) -> Iterator[tuple[str, _Reason]]:
    for id in sorted(found.conflicts):
        who = ", ".join(sorted(found.contradictions.get(id, {})))
        yield id, _Reason(f"conflict: {who} gave two labels at once" if who else "conflict")
    for id, labels in sorted(found.several.items()):
        yield id, _Reason(f"several labels: {labels.replace('|', ', ')}")
    for id, count in sorted(found.disagreements.items()):
        yield id, _Reason("outvoted", count.most_common(1)[0][0])
    for id, who in sorted(found.withdrawn.items()):
        yield id, _Reason(f"skipped later by {who}")
    for id in sorted(found.outside):
        yield id, _Reason(OUTSIDE)
    for group, ids in sorted(torn_groups(given, found).items()):
        for id in ids:
            yield (
                id,
                _Reason(f"near-duplicates of group {group} have different labels", found.labels[id].label),
            )
    for suspect in suspects:
        yield (
            suspect.sample_id,
            _Reason(f"suspected error (quality {suspect.quality:.2f})", suspect.suggested),
        )


def _votes(sample_id: str, found: Resolution) -> str:
    cast = dict(found.votes.get(sample_id, {}))
    cast |= {who: " and ".join(two) for who, two in found.contradictions.get(sample_id, {}).items()}
    if sample_id in found.outside:
        cast["outside the set"] = ", ".join(found.outside[sample_id])
    return "; ".join(f"{who}: {label}" for who, label in sorted(cast.items()))
