"""What ``ecos handoff`` reads from its options and tells."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecos_core.errors import InputError

if TYPE_CHECKING:
    from ecos_core.labelling import HandoffStatus


def status_fields(found: HandoffStatus) -> dict[str, Any]:
    return asdict(found)


def status_text(found: HandoffStatus) -> str:
    lines = [f"{found.labelled:,} of {found.tasks:,} labelled, {found.open:,} open"]
    troubles = {
        "in conflict": found.conflicts,
        "outvoted": found.disagreements,
        "outside the label set": found.outside_label_set,
        "skipped after labelling": found.withdrawn,
    }
    if any(troubles.values()):
        lines.append(
            "to look at: " + ", ".join(f"{count:,} {what}" for what, count in troubles.items() if count)
        )
    lines += [f"  {name}: {done:,} of {assigned:,}" for name, (done, assigned) in found.progress.items()]
    agreed = found.agreement
    if agreed.samples:
        kappa = "undefined" if agreed.fleiss_kappa is None else f"{agreed.fleiss_kappa:.3f}"
        lines.append(f"agreement over {agreed.samples:,} shared images: Fleiss' kappa {kappa}")
    for pair in agreed.pairs:
        kappa = "undefined" if pair.kappa is None else f"{pair.kappa:.3f}"
        lines.append(f"  {pair.first} and {pair.second}: {pair.same:.0%} alike, Cohen's kappa {kappa}")
    return "\n".join(lines)


def label_set(text: str) -> list[str]:
    """A file's lines where there is such a file, else names with commas."""
    file = Path(text)
    if file.is_file():
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return names(text)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    found = dict(text.split("=", 1) for text in texts or [] if "=" in text)
    if len(found) != len(texts or []):
        raise InputError(f"{option}: write it as OLD=NEW, each OLD once")
    return found
