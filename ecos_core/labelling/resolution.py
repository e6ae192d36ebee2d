"""From all answers ever given to one label a sample, and a list of what a person should look at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecos_core.labelling.answers import Status

OUTSIDE = "outside the label set"


@dataclass(frozen=True)
class Event:
    """An answer as stored: ``source`` names the hand-off and the file, ``final`` overrides all votes (a
    reviewer's)."""

    sample_id: str
    label: str | None
    annotator: str
    source: str
    created_at: str
    status: str
    reference: str | None
    final: bool


@dataclass(frozen=True)
class ResolvedLabel:
    """The label of one sample: what most annotators said last, or what the reviewer said."""

    sample_id: str
    label: str
    annotator: str
    source: str
    created_at: str
    votes: int
    voters: int


@dataclass(frozen=True)
class Resolution:
    """What all answers come to. ``conflicts``: ties; ``disagreements``: outvoted; ``outside``: labels not in
    the set; ``withdrawn``: labelled once, skipped later by the same annotator (the label stays). Each:
    sample_id -> votes."""

    labels: dict[str, ResolvedLabel]
    votes: dict[str, dict[str, str]]
    conflicts: dict[str, Counter[str]]
    disagreements: dict[str, Counter[str]]
    outside: dict[str, Counter[str]]
    withdrawn: dict[str, str]
    statuses: Counter[str]


def resolve(events: Iterable[Event], label_set: frozenset[str], renames: Mapping[str, str]) -> Resolution:
    """The last valid answer of each annotator is one vote; most votes win, a tie is a conflict, ``final``
    overrides.

    An empty ``label_set`` allows every label.
    """
    statuses: Counter[str] = Counter()
    last: dict[tuple[str, str], tuple[Event, str]] = {}
    final: dict[str, tuple[Event, str]] = {}
    skipped: dict[tuple[str, str], Event] = {}
    outside: dict[str, Counter[str]] = {}
    for event in events:
        label = _renamed(event.label, renames)
        key = (event.sample_id, event.annotator)
        if event.status == Status.LABELLED and label is not None and label_set and label not in label_set:
            statuses[OUTSIDE] += 1
            outside.setdefault(event.sample_id, Counter())[label] += 1
            continue
        statuses[event.status] += 1
        if event.status == Status.LABELLED and label is not None:
            _keep_latest(
                final if event.final else last, event.sample_id if event.final else key, event, label
            )
        elif event.status == Status.CANCELLED:
            skipped[key] = max(skipped.get(key, event), event, key=lambda item: item.created_at)
    return _count(last, final, skipped, outside, statuses)


def _keep_latest(store: dict[Any, tuple[Event, str]], key: Any, event: Event, label: str) -> None:
    if key not in store or store[key][0].created_at <= event.created_at:
        store[key] = (event, label)


def _renamed(label: str | None, renames: Mapping[str, str]) -> str | None:
    """Follow a chain of renames; a circle ends where it began."""
    seen: set[str] = set()
    while label is not None and label in renames and label not in seen:
        seen.add(label)
        label = renames[label]
    return label


def _count(
    last: dict[tuple[str, str], tuple[Event, str]],
    final: dict[str, tuple[Event, str]],
    skipped: dict[tuple[str, str], Event],
    outside: dict[str, Counter[str]],
    statuses: Counter[str],
) -> Resolution:
    votes: dict[str, dict[str, tuple[Event, str]]] = {}
    for (sample_id, annotator), vote in last.items():
        votes.setdefault(sample_id, {})[annotator] = vote
    labels: dict[str, ResolvedLabel] = {}
    conflicts: dict[str, Counter[str]] = {}
    disagreements: dict[str, Counter[str]] = {}
    for sample_id in votes.keys() | final.keys():
        cast = votes.get(sample_id, {})
        count = Counter(label for _, label in cast.values())
        if sample_id in final:
            labels[sample_id] = _resolved(sample_id, final[sample_id][1], [final[sample_id][0]], len(cast))
            continue
        (winner, most), *rest = count.most_common()
        if rest and rest[0][1] == most:
            conflicts[sample_id] = count
            continue
        if rest:
            disagreements[sample_id] = count
        supporters = [event for event, label in cast.values() if label == winner]
        labels[sample_id] = _resolved(sample_id, winner, supporters, len(cast))
    withdrawn = {
        sample_id: annotator
        for (sample_id, annotator), event in skipped.items()
        if (sample_id, annotator) in last and last[sample_id, annotator][0].created_at < event.created_at
    }
    plain = {id: {who: label for who, (_, label) in cast.items()} for id, cast in votes.items()}
    return Resolution(labels, plain, conflicts, disagreements, outside, withdrawn, statuses)


def _resolved(sample_id: str, label: str, events: Sequence[Event], voters: int) -> ResolvedLabel:
    newest = max(events, key=lambda event: event.created_at)
    who = ", ".join(sorted({event.annotator for event in events}))
    return ResolvedLabel(
        sample_id, label, who, newest.source, newest.created_at, len(events), max(voters, len(events))
    )
