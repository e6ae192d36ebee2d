"""How far a hand-off has come, and why the tasks that are open are open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ecos_core.labelling.agreement import Agreement, agreement
from ecos_core.labelling.answers import Status
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.people import People
from ecos_core.labelling.resolution import OUTSIDE, Resolution

CONFLICT, NOT_BACK = "in conflict", "not back yet"


@dataclass(frozen=True)
class HandoffStatus:
    """Counts are of the hand-off's own tasks unless said otherwise.

    ``complete`` is true when every task has a label. ``because``: why the open tasks are open, each counted once;
    ``contradictions``: conflicts in which somebody contradicts himself; ``torn``: groups of near-duplicates with
    different labels. ``statuses`` counts all answers in the labels folder by what they are worth; ``progress`` is
    annotator -> (done, assigned).
    """

    tasks: int
    labelled: int
    open: int
    because: dict[str, int]
    conflicts: int
    contradictions: int
    disagreements: int
    outside_label_set: int
    several: int
    withdrawn: int
    torn: int
    complete: bool
    statuses: dict[str, int]
    labels: dict[str, int]
    progress: dict[str, tuple[int, int]]
    agreement: Agreement


def status_of(given: Handoff, found: Resolution) -> HandoffStatus:
    """What the answers come to for the tasks of this hand-off."""
    ids = given.sample_ids
    labelled = {id: label.label for id, label in found.labels.items() if id in ids}
    return HandoffStatus(
        tasks=len(ids),
        labelled=len(labelled),
        open=len(ids) - len(labelled),
        because=dict(Counter(_why_open(id, found) for id in sorted(ids - labelled.keys())).most_common()),
        conflicts=len(ids & found.conflicts.keys()),
        contradictions=len(ids & found.contradictions.keys()),
        disagreements=len(ids & found.disagreements.keys()),
        outside_label_set=len(ids & found.outside.keys()),
        several=len(ids & found.several.keys()),
        withdrawn=len(ids & found.withdrawn.keys()),
        torn=len(torn_groups(given, found)),
        complete=len(labelled) == len(ids),
        statuses=dict(found.statuses),
        labels=dict(sorted(Counter(labelled.values()).items())),
        progress=_progress(given, found),
        agreement=agreement({id: votes for id, votes in found.votes.items() if id in ids}),
    )


def _why_open(sample_id: str, found: Resolution) -> str:
    if sample_id in found.conflicts:
        return CONFLICT
    last = found.last.get(sample_id, NOT_BACK)
    return OUTSIDE if sample_id in found.outside and last != Status.SEVERAL else last


def _progress(given: Handoff, found: Resolution) -> dict[str, tuple[int, int]]:
    people = People(spelled=given.annotators)
    progress = {}
    for name in given.annotators:
        mine = [task.sample_id for task in given.tasks if name in task.annotators]
        known = people.name(name)
        progress[name] = (sum(known in found.votes.get(id, {}) for id in mine), len(mine))
    return dict(sorted(progress.items()))


def torn_groups(given: Handoff, found: Resolution) -> dict[int, list[str]]:
    """Group -> its labelled samples, where near-duplicates have different labels."""
    groups: dict[int, list[str]] = {}
    for task in given.tasks:
        if task.sample_id in found.labels:
            groups.setdefault(task.group, []).append(task.sample_id)
    return {group: ids for group, ids in groups.items() if len({found.labels[id].label for id in ids}) > 1}
