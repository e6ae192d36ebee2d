"""From all answers ever given to one label a sample, and a list of what a person should look at again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ecos_core.labelling.answers import Status
from ecos_core.labelling.votes import majority
from ecos_core.names import tidy

OUTSIDE = "outside the label set"


@dataclass(frozen=True)
class Event:
    """An answer as stored: ``source`` names the hand-off and the file, ``final`` overrides all votes (a
    reviewer's), ``imported`` is the place of its import among all."""

    sample_id: str
    label: str | None
    annotator: str
    source: str
    created_at: str
    status: str
    reference: str | None
    final: bool
    imported: int = 0

    @property
    def moment(self) -> tuple[str, int]:
        """Answers of one moment contradict each other; of two moments the later one counts."""
        return self.created_at, self.imported


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
    """What all answers come to. ``votes``: sample_id -> annotator -> label, of those who did not contradict
    themselves; ``conflicts``: ties, and whatever somebody contradicts himself about; ``contradictions``: who did;
    ``disagreements``: outvoted; ``outside``: labels not in the set; ``withdrawn``: labelled once, skipped later by
    the same annotator (the label stays); ``last``: the status of the newest answer to each sample without a label.
    """

    labels: dict[str, ResolvedLabel]
    votes: dict[str, dict[str, str]]
    conflicts: dict[str, Counter[str]]
    contradictions: dict[str, dict[str, tuple[str, ...]]]
    disagreements: dict[str, Counter[str]]
    outside: dict[str, Counter[str]]
    several: dict[str, str]
    withdrawn: dict[str, str]
    last: dict[str, str]
    statuses: Counter[str]


@dataclass
class _LastWord:
    """What one person said at the newest moment: label -> the answer."""

    moment: tuple[str, int] = ("", -1)
    said: dict[str, Event] = field(default_factory=dict)

    def hear(self, event: Event, label: str) -> None:
        if event.moment > self.moment:
            self.moment, self.said = event.moment, {}
        if event.moment == self.moment:
            self.said[label] = event


def resolve(events: Iterable[Event], label_set: frozenset[str], renames: Mapping[str, str]) -> Resolution:
    """The last valid answer of each annotator is one vote; most votes win, a tie is a conflict, ``final``
    overrides. Whoever gives one sample two labels at one moment (two rows of a file, two folders) has no vote, and
    the sample is a conflict.

    An empty ``label_set`` allows every label.
    """
    found = _Heard()
    for event in events:
        label = None if event.label is None else tidy(event.label)
        found.hear(event, renamed(label, renames), label_set)
    return found.resolution()


def renamed(label: str | None, renames: Mapping[str, str]) -> str | None:
    """Follow a chain of renames; a circle ends where it began."""
    seen: set[str] = set()
    while label is not None and label in renames and label not in seen:
        seen.add(label)
        label = renames[label]
    return label


class _Heard:
    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.words: dict[str, dict[str, _LastWord]] = {}
        self.final: dict[str, _LastWord] = {}
        self.outside: dict[str, Counter[str]] = {}
        # What does not count, newest by sample and person.
        self.others: dict[str, dict[str, Event]] = {}

    def hear(self, event: Event, label: str | None, label_set: frozenset[str]) -> None:
        if event.status != Status.LABELLED or label is None:
            self.statuses[event.status] += 1
            mine = self.others.setdefault(event.sample_id, {})
            mine[event.annotator] = max(mine.get(event.annotator, event), event, key=_weight)
        elif label_set and label not in label_set:
            self.statuses[OUTSIDE] += 1
            self.outside.setdefault(event.sample_id, Counter())[label] += 1
        else:
            self.statuses[event.status] += 1
            words = self.words.setdefault(event.sample_id, {})
            store = self.final if event.final else words
            store.setdefault(event.sample_id if event.final else event.annotator, _LastWord()).hear(
                event, label
            )

    def resolution(self) -> Resolution:
        labels: dict[str, ResolvedLabel] = {}
        conflicts: dict[str, Counter[str]] = {}
        contradictions: dict[str, dict[str, tuple[str, ...]]] = {}
        disagreements: dict[str, Counter[str]] = {}
        votes: dict[str, dict[str, str]] = {}
        for sample_id, words in self.words.items():
            cast = {who: next(iter(word.said)) for who, word in words.items() if len(word.said) == 1}
            if cast:
                votes[sample_id] = cast
            final = self.final.get(sample_id)
            unsure = {who: tuple(word.said) for who, word in words.items() if len(word.said) > 1}
            if final is not None:
                unsure = (
                    {next(iter(final.said.values())).annotator: tuple(final.said)}
                    if len(final.said) > 1
                    else {}
                )
            if unsure:
                contradictions[sample_id] = unsure
                conflicts[sample_id] = Counter(
                    [*cast.values(), *(label for two in unsure.values() for label in two)]
                )
                continue
            count = Counter(cast.values())
            winner = next(iter(final.said)) if final is not None else majority(count)
            if winner is None:
                conflicts[sample_id] = count
                continue
            if final is None and len(count) > 1:
                disagreements[sample_id] = count
            said = [final] if final is not None else [words[who] for who in cast if cast[who] == winner]
            labels[sample_id] = _resolved(sample_id, winner, [word.said[winner] for word in said], len(cast))
        return Resolution(
            labels,
            votes,
            conflicts,
            contradictions,
            disagreements,
            self.outside,
            self._several(labels),
            self._withdrawn(),
            self._last(labels),
            self.statuses,
        )

    def _withdrawn(self) -> dict[str, str]:
        found = {}
        for sample_id, answers in self.others.items():
            for who, event in answers.items():
                word = self.words.get(sample_id, {}).get(who)
                if event.status == Status.CANCELLED and word is not None and word.moment < event.moment:
                    found[sample_id] = who
        return found

    def _several(self, labels: Mapping[str, ResolvedLabel]) -> dict[str, str]:
        """sample_id -> the labels, where nobody made up his mind since, or a label of the same person was there."""
        found = {}
        for sample_id, answers in self.others.items():
            for who, event in answers.items():
                word = self.words.get(sample_id, {}).get(who)
                open_still = sample_id not in labels or (word is not None and word.moment < event.moment)
                if event.status == Status.SEVERAL and open_still and sample_id not in self.final:
                    found[sample_id] = str(event.label)
        return found

    def _last(self, labels: Mapping[str, ResolvedLabel]) -> dict[str, str]:
        """The status that says most about why a sample has no label."""
        return {
            sample_id: max(answers.values(), key=_weight).status
            for sample_id, answers in self.others.items()
            if sample_id not in labels
        }


# Of answers of one moment, and for a sample that stays open, what somebody did says more than what nobody did.
_SAYS = (Status.UNKNOWN, Status.EMPTY, Status.UNREADABLE, Status.SUGGESTED, Status.CANCELLED, Status.SEVERAL)


def _weight(event: Event) -> tuple[bool, tuple[str, int], int]:
    rank = _SAYS.index(Status(event.status)) if event.status in _SAYS else 0
    return rank > _SAYS.index(Status.UNREADABLE), event.moment, rank


def _resolved(sample_id: str, label: str, events: list[Event], voters: int) -> ResolvedLabel:
    newest = max(events, key=lambda event: event.moment)
    who = ", ".join(sorted({event.annotator for event in events}))
    return ResolvedLabel(
        sample_id, label, who, newest.source, newest.created_at, len(events), max(voters, len(events))
    )
