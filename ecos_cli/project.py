"""Find the project's checkout: flows, tasks and benchmarks run from there, as Prefect projects do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ecos_core.errors import InputError

MARKS = ("prefect.yaml", "flows")


def find_project() -> Path:
    """The checkout: ``$ECOS_PROJECT``, the current folder or one above it, or the one this module lies in.

    Puts it on the import path. Raises InputError where there is none.
    """
    here = Path.cwd()
    named = os.environ.get("ECOS_PROJECT")
    candidates = [Path(named)] if named else [here, *here.parents, Path(__file__).resolve().parent.parent]
    for folder in candidates:
        if all((folder / mark).exists() for mark in MARKS):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
            return folder
    raise InputError(
        f"{named or here}: no ECOS project here (no prefect.yaml and flows/); run this in a checkout of the "
        "repository, or set ECOS_PROJECT to one"
    )
