"""Hold what a file says against the hand-off: whose sample, whose label, and whether a person gave it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ecos_core.labelling.answers import Answer, Said, Status
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.label_names import in_the_set
from ecos_core.labelling.people import People, person


def settled(
    entries: Iterable[Said],
    given: Handoff,
    people: People,
    *,
    annotator: str,
    label_set: Sequence[str],
    confirmed: bool = False,
) -> Iterator[Answer]:
    """One answer an entry.

    A first answer is known from the hand-off, whatever the tool kept of it: where an entry cannot tell it from a
    person's label, one label equal to it is taken away, and what is left is the person's; nothing left is no label,
    unless it is ``confirmed`` that a person looked at every one. ``annotator`` labelled where an entry names nobody.
    ``people`` learns which names are one person's.
    """
    allowed = frozenset(label_set)
    for entry in entries:
        found = given.sample_of(entry.sample)
        labels = [name for label in entry.labels if (name := in_the_set(label, allowed)) is not None]
        shown = given.suggested.get(found or "")
        carried = not entry.by_person and not confirmed and shown in labels
        if carried and shown is not None:
            labels.remove(shown)
        status, label = _worth(entry, list(dict.fromkeys(labels)), shown if carried else None)
        who = [person(name) for name in entry.who if person(name)]
        if len(who) > 1:
            people.same(who)
        yield Answer(
            sample_id=found or entry.sample,
            label=label,
            annotator=who[0] if who else annotator,
            status=status if found or status is Status.UNREADABLE else Status.UNKNOWN,
            created_at=entry.created_at,
            reference=f"{entry.reference}: {entry.trouble}" if entry.trouble else entry.reference,
        )


def _worth(entry: Said, labels: list[str], carried: str | None) -> tuple[Status, str | None]:
    if entry.trouble:
        return Status.UNREADABLE, None
    if entry.skipped:
        return Status.CANCELLED, None
    if len(labels) > 1:
        return Status.SEVERAL, "|".join(labels)
    if labels:
        return Status.LABELLED, labels[0]
    return (Status.EMPTY, None) if carried is None else (Status.SUGGESTED, carried)
