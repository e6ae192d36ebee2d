"""Work cut into tasks on a Ray cluster: so many in flight as there are places, lost ones run again elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal, TypeVar

from ecos_core.errors import EcosError, MissingDependencyError

log = logging.getLogger(__name__)

TASKS_AHEAD = 2
# Where shards and clusters are worked on: in this process, or as tasks on a Ray cluster.
Workplace = Literal["local", "ray"]
Item = TypeVar("Item")
Result = TypeVar("Result")


def run_on_ray(
    work: Callable[..., Result], items: Iterable[Item], *shared: Any, gpu: bool
) -> Iterator[tuple[Item, Result]]:
    """``work(*shared, item)`` for every item, each a task; yields items with results in the order finished.

    Joins the cluster of ``RAY_ADDRESS``, or the one already joined, or starts one on this machine. A task asks
    for a core and, with ``gpu`` where the cluster has any, for a GPU. ``shared`` is sent once. A task lost with
    its node runs again, so its work must be repeatable. The scheduler's memory does not grow with the items.
    Raises MissingDependencyError without Ray, and what ``work`` raises.
    """
    ray = _ray()
    resources = ray.cluster_resources()
    gpus = 1 if gpu and resources.get("GPU", 0) >= 1 else 0
    task = ray.remote(work).options(num_cpus=1, num_gpus=gpus, max_retries=-1)
    places = max(1, int(resources.get("GPU" if gpus else "CPU", 1)))
    log.info("%s on Ray: %d at a time, each on 1 CPU and %d GPU", work.__name__, places, gpus)
    held = [ray.put(value) for value in shared]
    waiting: dict[Any, Item] = {}
    todo = iter(items)
    while True:
        for item in islice(todo, places * TASKS_AHEAD - len(waiting)):
            waiting[task.remote(*held, item)] = item
        if not waiting:
            return
        ready, _ = ray.wait(list(waiting), num_returns=1)
        for reference in ready:
            yield waiting.pop(reference), _result(ray, reference)


def _result(ray: Any, reference: Any) -> Any:
    """The result, or the error that the work raised, without the worker's traceback."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EcosError):
            raise error.cause from None
        raise


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError("ray", "ray") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    return ray
