"""Take labels back: whatever the tool, whoever labelled, finished or not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Answer, Status
from ecos_core.labelling.formats import Returned, format_named, format_of
from ecos_core.labelling.formats.image_folder import files_of, tree_of
from ecos_core.labelling.handoff import Handoff
from ecos_core.labelling.label_names import nearest_label
from ecos_core.labelling.labels import LabelStore, utc
from ecos_core.labelling.people import UNNAMED, People
from ecos_core.labelling.resolution import Resolution, renamed
from ecos_core.labelling.settling import settled
from ecos_core.labelling.status import HandoffStatus, status_of
from ecos_core.names import tidy
from ecos_core.storage import Location, sha256_hex


@dataclass(frozen=True)
class ImportReport:
    """What one import did. ``new_answers`` is 0 when the same file was imported before; ``counts``: what its answers
    are worth, by status; ``unknown_labels``: outside the label set; ``meant``: such a label -> the one of the set that
    was probably meant; ``changed``: annotator -> how many of his labels are others than before.
    """

    new_answers: int
    repeated: bool
    counts: dict[str, int]
    unknown_labels: tuple[str, ...]
    meant: dict[str, str]
    unknown_samples: int
    changed: dict[str, int]
    status: HandoffStatus


def import_handoff(
    handoff: str | PathLike[str] | Location,
    returned: str | PathLike[str],
    labels: str | PathLike[str] | Location,
    *,
    format: str | None = None,
    annotator: str = UNNAMED,
    annotators: Mapping[str, str] | None = None,
    accept_labels: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
    control: str | None = None,
    confirmed: bool = False,
    final: bool = False,
    now: datetime | None = None,
) -> ImportReport:
    """Add what came back to the labels folder. No label is ever lost: answers are appended, and whatever does
    not count (skipped, empty, several labels, a first answer that nobody touched, an unknown sample, a label outside
    the set) is kept and counted by name.

    Args:
        handoff: the folder that was handed out.
        returned: the file, or for image-folder the tree, that came back; partial is fine, more may follow.
        labels: the labels folder; made when absent.
        format: default what the file itself says, else the hand-off's.
        annotator: who labelled, where the file does not say.
        annotators: names for people whom the files know by number or mail address; they hold for the earlier and
            later imports of this hand-off too.
        accept_labels: labels to add to the set; answers imported earlier count from then on.
        renames: old label -> new label, the same way.
        control: the question that holds the label, where a tool asked several.
        confirmed: a person looked at every first answer: one that came back as it was is a label.
        final: the answers of a reviewer, which override all votes.
        now: the time of answers that carry none; default the clock's.

    Raises InputError when the file is not of the format, is the one with the first answers, answers none of this
    hand-off's tasks, or ``renames`` leads outside the label set.
    """
    given = Handoff.open(handoff)
    store = LabelStore.at(labels)
    label_set = [*given.label_set, *map(tidy, accept_labels)]
    spelled = {tidy(old): tidy(new) for old, new in (renames or {}).items()}
    in_force = {*label_set, *map(tidy, store.manifest().parameters["label_set"])}
    _check_renames(spelled, in_force)
    where = Path(returned)
    if not where.exists():
        raise InputError(f"{where}: no such file or folder")
    _check_no_guesses(where, given)
    kind = format_named(format) if format else format_of(where, given.format)
    people = store.people(given.manifest.digest)
    people.spell(given.annotators)
    answers = list(
        settled(
            kind.read(Returned(where, given, control)),
            given,
            people,
            annotator=annotator,
            label_set=[*in_force, *spelled],
            confirmed=confirmed,
        )
    )
    _link_same_annotations(store, given, people, answers)
    for account, name in (annotators or {}).items():
        people.call(account, name)
    _check_this_handoff(where, given, answers)
    before = store.resolve()
    new = store.append(
        answers,
        file_digest=_digest(where, given, annotator, control, confirmed=confirmed, final=final),
        source=f"{kind.name}:{where.name}",
        handoff=given.manifest.digest,
        label_set=label_set,
        renames=spelled,
        people=people,
        final=final,
        now=now,
    )
    found = store.resolve()
    unknown = tuple(sorted({label for count in found.outside.values() for label in count}))
    counts = {str(status): sum(answer.status is status for answer in answers) for status in Status}
    strange = {answer.sample_id for answer in answers if answer.status is Status.UNKNOWN}
    return ImportReport(
        new_answers=len(answers) if new else 0,
        repeated=not new,
        counts={name: count for name, count in counts.items() if count},
        unknown_labels=unknown,
        meant={label: near for label in unknown if (near := nearest_label(label, in_force))},
        unknown_samples=len(strange),
        changed=_changed(before, found),
        status=status_of(given, found),
    )


def handoff_status(
    handoff: str | PathLike[str] | Location, labels: str | PathLike[str] | Location
) -> HandoffStatus:
    """How far the hand-off has come. Raises InputError when there is no finished hand-off."""
    return status_of(Handoff.open(handoff), LabelStore.at(labels).resolve())


def _check_renames(renames: Mapping[str, str], in_force: set[str]) -> None:
    lost = sorted({new for new in renames.values() if renamed(new, renames) not in in_force})
    if lost:
        near = nearest_label(lost[0], in_force)
        meant = f"did you mean '{near}'? Else " if near else ""
        raise InputError(
            f"rename to '{lost[0]}': not in the label set; {meant}add it with --accept-label '{lost[0]}'"
        )


def _check_no_guesses(where: Path, given: Handoff) -> None:
    if where.is_file() and given.preannotations and sha256_hex(where.read_bytes()) == given.preannotations:
        raise InputError(
            f"{where}: these are the first answers that this hand-off was given, nobody's labels; "
            "take back what the labellers returned"
        )


def _check_this_handoff(where: Path, given: Handoff, answers: Sequence[Answer]) -> None:
    """A stray entry is kept; a file without one of this hand-off's tasks is another's, and is refused whole."""
    if answers and all(answer.status is Status.UNKNOWN for answer in answers):
        raise InputError(
            f"{where}: not one of its {len(answers):,} entries is of this hand-off ({given.folder}; the first is "
            f"'{answers[0].sample_id}'); name the folder that was handed out, and keep ids and file names as they were"
        )


def _link_same_annotations(
    store: LabelStore, given: Handoff, people: People, answers: Sequence[Answer]
) -> None:
    """The same annotation in two exports is one person's, though one names him by number and the other by address."""
    known = store.annotators_of(given.manifest.digest)
    for answer in answers:
        before = known.get((answer.sample_id, str(answer.reference), utc(answer.created_at) or ""))
        if before is not None and before != answer.annotator:
            people.same([before, answer.annotator])


def _changed(before: Resolution, after: Resolution) -> dict[str, int]:
    found: dict[str, int] = {}
    for sample_id, cast in before.votes.items():
        for who, label in cast.items():
            if after.votes.get(sample_id, {}).get(who, label) != label:
                found[who] = found.get(who, 0) + 1
    return dict(sorted(found.items()))


def _digest(
    returned: Path, given: Handoff, annotator: str, control: str | None, *, confirmed: bool, final: bool
) -> str:
    """Identifies an import: what came back, for which hand-off, and whatever changes its meaning."""
    asked = [given.manifest.digest, annotator, str(control), str(confirmed), str(final)]
    digest = hashlib.sha256("\0".join(asked).encode())
    if returned.is_dir():
        root = tree_of(returned)
        for path in files_of(root):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode("utf-8", "surrogateescape"))
    else:
        digest.update(returned.read_bytes())
    return digest.hexdigest()
