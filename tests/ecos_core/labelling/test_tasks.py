"""Near-duplicates stay together, everybody gets a fair share, shared images reach several people."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.labelling.tasks import Task, near_duplicate_groups, share_out


def _tasks(groups: list[int]) -> list[Task]:
    return [
        Task(f"{order:064x}", order, 0, "random", "image/png", group=group)
        for order, group in enumerate(groups)
    ]


def test_groups_follow_chains_of_close_hashes() -> None:
    hashes = np.array([0, 0b1111, 0b11111111, 2**63, 0b1111 << 40, 1], dtype=np.uint64)
    assert near_duplicate_groups(hashes).tolist() == [0, 0, 0, 0, 0, 0]
    assert near_duplicate_groups(hashes, bits=1).tolist() == [0, 1, 2, 0, 4, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 8))
def test_groups_are_what_a_plain_search_finds(values: list[int], bits: int) -> None:
    near = [[(a ^ b).bit_count() <= bits for b in values] for a in values]
    expected = list(range(len(values)))
    for _ in values:
        expected = [min(expected[j] for j in range(len(values)) if near[i][j]) for i in range(len(values))]
    assert near_duplicate_groups(np.array(values, dtype=np.uint64), bits).tolist() == expected


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
