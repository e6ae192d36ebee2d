"""A tree of folders, one a label, for people who sort by hand in a file manager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned
from ecos_core.labelling.formats.folder_names import SEPARATE, UNLABELLED, folder_for
from ecos_core.labelling.tasks import Task

IMAGES = "images"
# Litter of file managers and archivers, beside whatever starts with a dot.
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def place(task: Task) -> str:
    """Images with a first answer wait in ``_suggested/LABEL``: only a person moves one into a label's own folder."""
    guess = task.preannotation
    within = UNLABELLED if guess is None else f"{SEPARATE}/{folder_for(guess.label)}"
    return f"{IMAGES}/{within}/{task.file_name}"


def write(out: Outgoing) -> None:
    """An empty folder for every label, ready to be dropped into."""
    for label in (*out.label_set, None):
        (out.folder / IMAGES / folder_for(label)).mkdir(parents=True, exist_ok=True)


def read(returned: Returned) -> Iterator[Said]:
    """Every file under a label's folder; what still lies in ``_unlabelled``, or beside the folders, has no answer.

    Hand-offs of before ``_suggested`` put the first answers into the labels' own folders: there, a file that lies where
    it was handed out is as it was.
    """
    root = tree_of(returned.where)
    apart = returned.given.manifest.parameters.get("suggested_in") == SEPARATE
    files = list(files_of(root))
    if not files:
        raise InputError(f"{root}: no pictures here; give the folder that holds the label folders")
    for path in files:
        folders = path.relative_to(root).parts[:-1]
        label = () if not folders or folders[-1] == UNLABELLED else (unquote(folders[-1]),)
        waiting = SEPARATE in folders[:-1]
        if folders and folders[-1] == SEPARATE:
            label = ()
        yield Said(
            sample=path.name,
            labels=label,
            by_person=apart and not waiting,
            reference="/".join(path.relative_to(root).parts),
        )


def tree_of(where: Path) -> Path:
    """The folder of label folders: ``where``, or ``images`` in it where the whole hand-off came back."""
    if not where.is_dir():
        raise InputError(f"{where}: not a folder of label folders")
    return where / IMAGES if (where / IMAGES).is_dir() else where


def files_of(root: Path) -> Iterator[Path]:
    """Its files in order of their names, without hidden ones and file managers' litter."""
    for path in sorted(root.rglob("*")):
        parts = [part.casefold() for part in path.relative_to(root).parts]
        if path.is_file() and not any(part.startswith(".") or part in _LITTER for part in parts):
            yield path


IMAGE_FOLDER = LabelFormat(
    "image-folder",
    write,
    read,
    """\
Move every file from `images/_unlabelled` into the folder of its label, `images/LABEL`; those folders are there already.
Files in `images/_suggested/LABEL` have a first answer: move them into `images/LABEL` once you have looked at them; what
stays in `_suggested` is nobody's label. What comes back is the folder `images`.""",
    place=place,
)
