"""Only a question to the client is tried again, and only where that can help."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from prefect import Task
from prefect.client.schemas.objects import State
from prefect.states import Failed

import tasks
from ecos_core.errors import InputError, RemoteError
from tasks.scoring import score_with_client


def test_only_free_questions_to_the_client_are_tried_again() -> None:
    modules = [
        importlib.import_module(f"tasks.{found.name}") for found in pkgutil.iter_modules(tasks.__path__)
    ]
    found = {one.name: one for module in modules for one in vars(module).values() if isinstance(one, Task)}
    assert len(found) >= 10
    assert [name for name, one in found.items() if one.retries] == ["score"]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RemoteError("the client is down", retryable=True), True),
        (RemoteError("the budget is spent", retryable=False), False),
        (InputError("no such clustering"), False),
        (ValueError("a fault of ours"), False),
    ],
    ids=lambda value: str(value),
)
def test_what_may_pass_is_tried_again_and_a_refusal_is_not(error: Exception, again: bool) -> None:
    state: State[Any] = Failed(data=error)
    condition: Any = score_with_client.retry_condition_fn
    assert condition(score_with_client, None, state) is again
    assert score_with_client.retries == 3 and score_with_client.retry_delay_seconds == [2, 10, 30]
