"""The page that goes with a hand-off: what to do, in the tool's words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecos_core.labelling.formats import LabelFormat


def guide(
    kind: LabelFormat, label_set: Sequence[str], instructions: str, folder: Path, first_answers: str = ""
) -> str:
    """README.md of the hand-off in ``folder``; ``first_answers`` says where suggestions are from."""
    suggested = ""
    if first_answers:
        suggested = (
            f"\n{first_answers} They are often wrong: look at the image first, and change them freely.\n"
        )
    labels = "\n".join(f"- {label}" for label in label_set)
    return f"""\
# Images to label

{instructions or "Give each image the label that fits best; skip it if none does."}

## Labels

{labels}

## How

{kind.steps.replace("{folder}", str(folder.absolute()))}
{suggested}
File names are stable ids: do not change them. `tasks.parquet` and `manifest.json` are for the program that takes the
labels back; leave them as they are.

## Giving the labels back

    ecos handoff import {folder.absolute()} RETURNED --labels LABELS

Send back as often as you like, finished or not: answers add up and none is lost.
"""
