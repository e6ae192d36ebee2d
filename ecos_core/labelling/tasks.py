"""What is handed to labellers: one task an image, near-duplicates side by side, shared out among
annotators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from ecos_core.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tif",
}


@dataclass(frozen=True)
class Preannotation:
    """What a model thinks the label is: ``score`` in [0, 1] or None, ``model`` names who says so."""

    label: str
    score: float | None = None
    model: str = "model"


@dataclass(frozen=True)
class Task:
    """One image to label. ``group`` is the smallest order of its near-duplicates; ``reason`` says why it was
    chosen.

    ``annotators`` is empty when anybody may take it.
    """

    sample_id: str
    order: int
    cluster: int
    reason: str
    media_type: str
    score: float | None = None
    group: int = -1
    licence: str | None = None
    attribution: str | None = None
    annotators: tuple[str, ...] = ()
    preannotation: Preannotation | None = None

    @property
    def file_name(self) -> str:
        """Where the image lies in the hand-off's ``images`` folder: its stable id and a suffix."""
        return f"{self.sample_id}.{EXTENSIONS.get(self.media_type, 'bin')}"

    @property
    def why(self) -> str:
        """One sentence for the labeller's page."""
        score = "" if self.score is None else f" (score {self.score:.1f})"
        return f"pick {self.order + 1}, cluster {self.cluster}{score}: {self.reason}"


def share_out(
    tasks: Sequence[Task], annotators: Sequence[str], *, overlap: float = 0.0, raters: int = 2
) -> list[Task]:
    """Give every task to one annotator, and a share of them to several, for agreement.

    Near-duplicates stay together, so that one person sees them side by side. Shared groups are spread evenly
    over the batch; loads differ by one group at most, and among equals those who met least often meet.

    Args:
        tasks: in the order they will be shown; those of one group follow each other.
        annotators: names; empty leaves the tasks to anybody.
        overlap: share of the groups, in [0, 1], that goes to ``raters`` annotators.
        raters: how many label a shared group, at least 2 and at most all of them.

    Raises InputError for a repeated name, or an overlap or raters out of range.
    """
    if not 0 <= overlap <= 1:
        raise InputError(f"overlap {overlap:g}: must be a share between 0 and 1")
    if len(set(annotators)) != len(annotators) or not all(annotators):
        raise InputError("annotators: every name must be given, and only once")
    if overlap and not 2 <= raters <= len(annotators):
        raise InputError(f"overlap: {raters} raters of {len(annotators)} annotators; name at least 2 of each")
    if not annotators:
        return list(tasks)
    groups = sorted({task.group for task in tasks})
    given: dict[int, tuple[str, ...]] = {}
    load: dict[int, Counter[str]] = {1: Counter(), raters: Counter()}
    met: Counter[frozenset[str]] = Counter()
    for place, group in enumerate(groups):
        shared = int((place + 1) * overlap + 1e-9) > int(place * overlap + 1e-9)
        count = raters if shared else 1
        given[group] = _least_loaded(annotators, count, load[count], met)
    return [replace(task, annotators=given[task.group]) for task in tasks]


def _least_loaded(
    annotators: Sequence[str], count: int, load: Counter[str], met: Counter[frozenset[str]]
) -> tuple[str, ...]:
    """``count`` annotators with the fewest groups so far, and count the group as theirs."""
    chosen: list[str] = []
    for _ in range(count):
        waiting = [name for name in annotators if name not in chosen]
        chosen.append(
            min(
                waiting, key=lambda name: (load[name], sum(met[frozenset((name, other))] for other in chosen))
            )
        )
    load.update(chosen)
    met.update(frozenset(pair) for pair in combinations(chosen, 2))
    return tuple(sorted(chosen, key=annotators.index))


def build_tasks(
    selection: pa.Table,
    images: Mapping[str, Mapping[str, object]],
    preannotations: Mapping[str, Preannotation],
    group_of: Mapping[str, str],
) -> list[Task]:
    """One task a selected sample, near-duplicates next to each other, otherwise in the order picked.

    Args:
        selection: the columns of ``selection.parquet``.
        images: sample_id -> ``media_type, licence, attribution`` of the lake.
        preannotations: sample_id -> a first answer.
        group_of: sample_id -> what its near-duplicates share; those that stand alone may be absent.
    """
    columns = ["sample_id", "order", "cluster", "score", "reason"]
    rows = sorted(selection.select(columns).to_pylist(), key=lambda row: int(row["order"]))
    first: dict[str, int] = {}
    tasks = []
    for row in rows:
        group = first.setdefault(group_of.get(row["sample_id"], row["sample_id"]), int(row["order"]))
        image = images[row["sample_id"]]
        tasks.append(
            Task(
                sample_id=row["sample_id"],
                order=int(row["order"]),
                cluster=int(row["cluster"]),
                reason=row["reason"],
                media_type=str(image["media_type"]),
                score=row["score"],
                group=group,
                licence=_text(image["licence"]),
                attribution=_text(image["attribution"]),
                preannotation=preannotations.get(row["sample_id"]),
            )
        )
    return sorted(tasks, key=lambda task: (task.group, task.order))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
