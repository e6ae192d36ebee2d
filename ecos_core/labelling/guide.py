"""The page that goes with a hand-off: what to do, in the tool's words."""

from __future__ import annotations

from collections.abc import Sequence

_STEPS = {
    "label-studio": """\
1. Start Label Studio with `LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true` and with the folder that holds this
   one as `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`.
2. Make a project; paste `label_config.xml` into its labelling setup; under Cloud Storage add "Local files"
   with the path of this folder (`{name}`), and do not sync it.
3. Import `tasks.json`, or only a person's `tasks-NAME.json`.
4. Label. Then Export, format JSON.""",
    "csv": """\
Fill in the column `label` of `tasks.csv` (and `annotator`, if several people do).
Keep the header and `sample_id`.""",
    "parquet": """\
Fill in the column `label` of `tasks-with-images.parquet`; add a column `annotator` if several people do.""",
    "coco": """\
Add annotations with a `category_id` (and `annotator`) to `tasks.json`; any box will do, the category
counts.""",
    "image-folder": """\
Move every file from `images/_unlabelled` to `images/LABEL`, and put right what lies in a wrong folder.
What comes back is the folder `images`.""",
}


def guide(
    format: str, label_set: Sequence[str], instructions: str, name: str, first_answers: str = ""
) -> str:
    """README.md of a hand-off folder called ``name``; ``first_answers`` says where suggestions are from."""
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

{_STEPS[format].format(name=name)}
{suggested}
Why each image was chosen, and which are near-duplicates of each other (the same `group`), stands in
`tasks.parquet`. File names are stable ids: do not change them.

## Giving the labels back

    ecos handoff import {name} RETURNED --labels LABELS

Send back as often as you like, finished or not: answers add up and none is lost.
"""
