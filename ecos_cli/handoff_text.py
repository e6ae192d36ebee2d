"""What ``ecos handoff`` reads from its options and tells."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ecos_cli.output import emit
from ecos_core.errors import InputError

if TYPE_CHECKING:
    from ecos_core.labelling import HandoffStatus, ImportReport

_IN_WORDS = {"cancelled": "skipped", "unchanged first answer": "with an unchanged first answer"}


def status_text(found: HandoffStatus) -> str:
    """How far it is, why the rest is open, what to look at, and who agrees with whom."""
    lines = [f"{found.labelled:,} of {found.tasks:,} labelled, {found.open:,} open"]
    if found.because:
        lines.append("open: " + _counted(found.because))
    troubles = {
        "in conflict": found.conflicts,
        "of them because somebody gave two labels at once": found.contradictions,
        "with several labels": found.several,
        "outvoted": found.disagreements,
        "outside the label set": found.outside_label_set,
        "skipped after labelling": found.withdrawn,
        "groups of near-duplicates with different labels": found.torn,
    }
    if any(troubles.values()):
        lines.append("to look at: " + _counted(troubles))
    if found.labelled > 1 and len(found.labels) == 1:
        lines.append(f"every label is '{next(iter(found.labels))}': a model can learn nothing from one class")
    lines += [f"  {name}: {done:,} of {assigned:,}" for name, (done, assigned) in found.progress.items()]
    agreed = found.agreement
    if agreed.samples:
        kappa = "undefined" if agreed.fleiss_kappa is None else f"{agreed.fleiss_kappa:.3f}"
        lines.append(f"agreement over {agreed.samples:,} shared images: Fleiss' kappa {kappa}")
    for pair in agreed.pairs:
        kappa = "undefined" if pair.kappa is None else f"{pair.kappa:.3f}"
        lines.append(f"  {pair.first} and {pair.second}: {pair.same:.0%} alike, Cohen's kappa {kappa}")
    return "\n".join(lines)


def import_text(report: ImportReport) -> str:
    """What one import added, and what of it does not count."""
    lines = (
        ["imported before: nothing added"] if report.repeated else [f"{report.new_answers:,} answers added"]
    )
    uncounted = {name: count for name, count in report.counts.items() if name != "labelled"}
    if uncounted and not report.repeated:
        lines[0] += f"; not counted: {_counted(uncounted)}"
    if report.counts.get("unchanged first answer"):
        lines.append(
            "an unchanged first answer is nobody's label; where a person looked at every one, say --confirmed"
        )
    if report.unknown_samples:
        lines.append(f"{report.unknown_samples:,} samples are not of this hand-off: kept, not counted")
    if report.unknown_labels:
        named = [
            f"{label} ({report.meant[label]}?)" if label in report.meant else label
            for label in report.unknown_labels
        ]
        lines.append(f"outside the label set: {', '.join(named)} (count them with {_remedy(report)})")
    for who, count in report.changed.items():
        lines.append(f"{count:,} labels of {who} are others than before; the later ones count")
    return "\n".join(lines)


def _remedy(report: ImportReport) -> str:
    old = next(iter(report.meant), None)
    rename = f"--rename '{old}={report.meant[old]}'" if old is not None else "--rename OLD=NEW"
    return f"{rename} or --accept-label"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {_IN_WORDS.get(name, name)}" for name, count in counts.items() if count)


def tell_import(report: ImportReport, batch: str, labels: str, review: str | None, *, as_json: bool) -> None:
    """Tell the run that waits, write what is to be reviewed, and print what the import did."""
    from ecos_cli.resume import resume_waiting
    from ecos_core.labelling import write_review

    to_review = write_review(batch, labels, review) if review else None
    # Also when nothing is new but all is there: the server may have been down when the labels came.
    news = report.new_answers or report.status.complete
    resumed = resume_waiting(Path(batch)) if news else 0
    result = {
        "answers": report.new_answers,
        "repeated": report.repeated,
        "counts": report.counts,
        "unknown_samples": report.unknown_samples,
        "unknown_labels": list(report.unknown_labels),
        "meant": report.meant,
        "changed": report.changed,
        "to_review": to_review,
        "resumed_runs": resumed,
        "labels": labels,
        **asdict(report.status),
    }
    lines = [import_text(report)]
    if resumed:
        lines.append("the flow run that waits for these labels goes on")
    if to_review is not None:
        lines.append(f"{to_review:,} rows to review in {review}; take them back with --final")
    emit(result, as_json=as_json, text="\n".join([*lines, status_text(report.status)]))


def names(text: str) -> list[str]:
    """Names with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """OLD=NEW, several times. Raises InputError for anything else."""
    found = dict(text.split("=", 1) for text in texts or [] if "=" in text)
    if len(found) != len(texts or []) or not all(old.strip() and new.strip() for old, new in found.items()):
        raise InputError(f"{option}: write it as OLD=NEW, each OLD once")
    return {old.strip(): new.strip() for old, new in found.items()}
