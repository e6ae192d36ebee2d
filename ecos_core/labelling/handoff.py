"""A hand-off on disk, opened: what was handed out to whom, and which first answers it showed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import PureWindowsPath
from urllib.parse import unquote

from ecos_core.names import tidy
from ecos_core.storage import Location, Manifest, read_manifest, read_shard

KIND = "handoff"
TASKS_NAME = "tasks.parquet"
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class HandedTask:
    """One task as it was handed out. ``group``: what near-duplicates share; ``suggested``: the first answer shown,
    None where there was none."""

    sample_id: str
    image: str
    group: int
    annotators: tuple[str, ...]
    suggested: str | None


@dataclass(frozen=True)
class Handoff:
    """A finished hand-off folder: its manifest and its tasks."""

    folder: Location
    manifest: Manifest
    tasks: tuple[HandedTask, ...]

    @classmethod
    def open(cls, folder: str | PathLike[str] | Location) -> Handoff:
        """Raises InputError when there is no finished hand-off."""
        where = Location.of(folder)
        manifest = read_manifest(where, KIND)
        record = next(shard for shard in manifest.shards if shard.name == TASKS_NAME)
        columns = ["sample_id", "image", "group", "annotators", "suggested"]
        tasks = (
            HandedTask(**row | {"annotators": tuple(row["annotators"] or ())})
            for row in read_shard(where, record, columns).to_pylist()
        )
        return cls(where, manifest, tuple(tasks))

    @cached_property
    def sample_ids(self) -> frozenset[str]:
        """Of all its tasks."""
        return frozenset(task.sample_id for task in self.tasks)

    @cached_property
    def suggested(self) -> dict[str, str]:
        """sample_id -> the first answer that the labellers were shown."""
        return {task.sample_id: tidy(task.suggested) for task in self.tasks if task.suggested}

    @property
    def format(self) -> str:
        """The tool's name."""
        return str(self.manifest.parameters["format"])

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels that may be given, in the order asked."""
        return tuple(tidy(name) for name in self.manifest.parameters["label_set"])

    @property
    def annotators(self) -> tuple[str, ...]:
        """Those whom the tasks were shared out among."""
        return tuple(self.manifest.parameters["annotators"])

    @property
    def preannotations(self) -> str | None:
        """The digest of the first answers that it was given, None where it was given none."""
        return self.manifest.inputs.get("preannotations")

    def sample_of(self, text: str) -> str | None:
        """The sample that an id, a file name, a path or an address means: tools put folders, their own prefix or
        `` (1)`` around it, write ``\\`` for ``/``, or turn its letters into capitals. None for none of these tasks."""
        if text in self.sample_ids:
            return text
        plain = unquote(text).casefold()
        for part in reversed(PureWindowsPath(plain).parts):
            if part in self._folded:
                return self._folded[part]
            if known := {id for id in _ID.findall(part) if id in self._folded}:
                return self._folded[known.pop()] if len(known) == 1 else None
            if (stem := PureWindowsPath(part).stem) in self._folded:
                return self._folded[stem]
        return None

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {id.casefold(): id for id in self.sample_ids}
