"""When labels land, the run that waits for them goes on by itself."""

from __future__ import annotations

import os
from pathlib import Path

from ecos_cli.output import warn

FLOW = "hand-off"


def resume_waiting(handoff: Path) -> int:
    """Resume the suspended hand-off runs of this folder on the server of PREFECT_API_URL.

    Returns how many. Labels are imported whether or not a server answers: a failure is a line, no error.
    """
    if "PREFECT_API_URL" not in os.environ:
        return 0
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
    from prefect.client.schemas.filters import FlowRunFilterStateType as TypeFilter
    from prefect.client.schemas.objects import StateType

    paused = FlowRunFilter(state=FlowRunFilterState(type=TypeFilter(any_=[StateType.PAUSED])))
    try:
        with get_client(sync_client=True) as client:
            runs = client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])), flow_run_filter=paused
            )
            waiting = [run for run in runs if _hands_off(run.parameters) == handoff.absolute()]
            for run in waiting:
                client.resume_flow_run(run.id)
    except Exception as error:  # the import itself is done
        warn(
            f"ecos: the labels are in, but the Prefect server did not answer ({type(error).__name__}); when it is up, "
            "run this command again"
        )
        return 0
    return len(waiting)


def _hands_off(parameters: dict[str, object]) -> Path | None:
    config = parameters.get("config")
    out = config.get("out") if isinstance(config, dict) else None
    return Path(str(out)).absolute() if out else None
