"""Long work shows on the run's page how far it is."""

from __future__ import annotations

import pytest
from prefect import flow

from ecos_core.progress import Progress
from tasks import progress as module
from tests.flows.prefect_support import artifacts_of, runs_of


def test_a_long_step_is_one_progress_artifact_with_rate_and_failures(
    prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)

    @flow(name="long-work", persist_result=False)
    def long_work() -> None:
        show = module.PrefectProgress()
        for done in range(0, 401, 100):
            show(Progress("extract features", done, 400, "images", failures=done // 200))
        show(Progress("assign to clusters", 1, 4, "images"))

    long_work()
    found = artifacts_of(prefect_url, runs_of(prefect_url, "long-work")[0]["id"])
    assert set(found) == {"progress-extract-features", "progress-assign-to-clusters"}
    done = found["progress-extract-features"]
    assert done["type"] == "progress" and float(done["data"]) == 100.0
    assert "400 of 400 images" in done["description"] and "2 set aside" in done["description"]
    assert float(found["progress-assign-to-clusters"]["data"]) == 25.0
