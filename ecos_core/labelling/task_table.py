"""``tasks.parquet``: one row a task, what import and status need to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ecos_core.labelling.tasks import Task

if TYPE_CHECKING:
    import pyarrow as pa


def task_table(tasks: Sequence[Task]) -> pa.Table:
    """The tasks in their order, as docs/data-contracts.md has them."""
    import pyarrow as pa

    guesses = [task.preannotation for task in tasks]
    columns: dict[str, tuple[list[Any], Any]] = {
        "sample_id": ([task.sample_id for task in tasks], pa.string()),
        "order": ([task.order for task in tasks], pa.int64()),
        "cluster": ([task.cluster for task in tasks], pa.int32()),
        "score": ([task.score for task in tasks], pa.float64()),
        "reason": ([task.reason for task in tasks], pa.string()),
        "group": ([task.group for task in tasks], pa.int64()),
        "image": ([f"images/{task.file_name}" for task in tasks], pa.string()),
        "licence": ([task.licence for task in tasks], pa.string()),
        "annotators": ([list(task.annotators) for task in tasks], pa.list_(pa.string())),
        "suggested": ([guess.label if guess else None for guess in guesses], pa.string()),
        "suggested_score": ([guess.score if guess else None for guess in guesses], pa.float64()),
    }
    return pa.table({name: pa.array(values, type) for name, (values, type) in columns.items()})
