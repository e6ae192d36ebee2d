"""Near-duplicates stay together, everybody gets a fair share, shared images reach several people."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.labelling.tasks import Task, build_tasks, share_out


def _tasks(groups: list[int]) -> list[Task]:
    return [
        Task(f"{order:064x}", order, 0, "random", "image/png", group=group)
        for order, group in enumerate(groups)
    ]


def _selection(count: int) -> pa.Table:
    return pa.table(
        {
            "sample_id": [f"{order:064x}" for order in range(count)],
            "order": range(count),
            "cluster": [0] * count,
            "score": [1.0] * count,
            "reason": ["random"] * count,
        }
    )


def test_near_duplicates_stand_together_under_the_first_that_was_picked() -> None:
    selection = _selection(5)
    fact = {"media_type": "image/png", "licence": None, "attribution": None}
    facts = dict.fromkeys(selection["sample_id"].to_pylist(), fact)
    not_picked = "f" * 64
    group_of = {f"{order:064x}": not_picked for order in (1, 4)}
    tasks = build_tasks(selection, facts, {}, group_of)
    assert [(task.order, task.group) for task in tasks] == [(0, 0), (1, 1), (4, 1), (2, 2), (3, 3)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.integers(1, 6),
    st.floats(0, 1),
    st.integers(2, 6),
)
def test_every_task_is_given_out_and_groups_stay_together(
    groups: list[int], people: int, overlap: float, raters: int
) -> None:
    names = [f"annotator {number}" for number in range(people)]
    if overlap and raters > people:
        with pytest.raises(InputError, match="raters"):
            share_out(_tasks(groups), names, overlap=overlap, raters=raters)
        return
    shared = share_out(_tasks(groups), names, overlap=overlap, raters=raters)
    owners = {group: {task.annotators for task in shared if task.group == group} for group in set(groups)}
    assert all(len(found) == 1 for found in owners.values())
    sizes = Counter(len(next(iter(found))) for found in owners.values())
    assert set(sizes) <= {1, raters}
    assert sizes.get(raters, 0) == int(len(owners) * overlap + 1e-9) or people == 1
    for count in (1, raters):
        load = Counter(
            name for found in owners.values() for name in next(iter(found)) if len(next(iter(found))) == count
        )
        assert max(load.values(), default=0) - min(load[name] for name in names) <= 1


def test_nonsense_shares_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        share_out(_tasks([0]), ["a", "b"], overlap=1.5)
    with pytest.raises(InputError, match="only once"):
        share_out(_tasks([0]), ["a", "a"])
    with pytest.raises(InputError, match="raters"):
        share_out(_tasks([0]), ["a"], overlap=0.5)


def test_nobody_named_leaves_the_tasks_to_anybody() -> None:
    assert [task.annotators for task in share_out(_tasks([0, 1]), [])] == [(), ()]
