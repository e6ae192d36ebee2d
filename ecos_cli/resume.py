"""When labels land, the run that waits for them goes on by itself."""

from __future__ import annotations

import os
from pathlib import Path

from ecos_cli.output import warn
from ecos_core.stages.handing_off import Waiting, waiting_for

FLOW = "hand-off"


def resume_waiting(handoff: Path) -> int:
    """Resume the suspended hand-off runs of this folder on the Prefect server of the environment or the profile.

    Returns how many. Labels are imported whether or not a server answers: a failure is a line, no error. Where the
    folder says that a run waits and no server is named, a line says which one to name.
    """
    waiting = waiting_for(handoff)
    if "PREFECT_API_URL" not in os.environ and (waiting is None or not _profile_names_a_server()):
        if waiting is not None:
            warn(f"ecos: {_untold(waiting)}")
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
            known = waiting.run if waiting else None
            found = [
                run
                for run in runs
                if str(run.id) == known or _hands_off(run.parameters) == handoff.absolute()
            ]
            for run in found:
                client.resume_flow_run(run.id)
    except Exception as error:  # the import itself is done
        warn(
            f"ecos: the labels are in, but the Prefect server did not answer ({type(error).__name__}); when it is up, "
            "run this command again"
        )
        return 0
    return len(found)


def _profile_names_a_server() -> bool:
    from prefect.settings import PREFECT_API_URL

    return bool(PREFECT_API_URL.value())


def _untold(waiting: Waiting) -> str:
    server = waiting.api_url or "http://HOST:4200/api"
    return (
        f"the labels are in, but flow run {waiting.run} waits for them and was not told: "
        f"export PREFECT_API_URL={server}  and run this command again"
    )


def _hands_off(parameters: dict[str, object]) -> Path | None:
    config = parameters.get("config")
    out = config.get("out") if isinstance(config, dict) else None
    return Path(str(out)).absolute() if out else None
