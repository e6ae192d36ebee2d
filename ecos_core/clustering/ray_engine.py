"""Assignment as tasks on a Ray cluster: a run of feature shards each, the same bytes as on one machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.runs import RunDone, RunPlan, write_run
from ecos_core.features.feature_set import FeatureSet
from ecos_core.features.ray_tasks import run_on_ray
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location


def write_runs_on_ray(
    lake: Lake,
    feature_set: FeatureSet,
    plans: Sequence[RunPlan],
    centroids: NDArray[np.float32],
    folder: Location,
) -> Iterator[tuple[RunPlan, RunDone]]:
    """``write_run`` for every plan; yields each when it is on disk. As ``run_on_ray``."""
    return run_on_ray(_write_run, plans, str(lake.location), feature_set, centroids, str(folder), gpu=True)


def _write_run(
    lake_url: str,
    feature_set: FeatureSet,
    centroids: NDArray[np.float32],
    folder_url: str,
    plan: RunPlan,
) -> RunDone:
    # One thread: a task asks for one core.
    return write_run(Lake.open(lake_url), feature_set, plan, centroids, Location.of(folder_url), workers=1)
