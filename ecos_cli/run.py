"""`ecos run`: the whole outsourcing from one YAML file."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_cli.settings import ConfigOption, SetOption, settings
from ecos_core.errors import PolicyError

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def run(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file; docs/tutorial.md explains its fields.", metavar="FILE")
    ] = None,
    home: Annotated[
        Path, typer.Option(help="Where a local Prefect server and MLflow store live when none is configured.")
    ] = Path(".ecos"),
    config_file: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the `outsource` flow: index, score, sample with each sampler, train, compare, report.

    Uses the Prefect server of PREFECT_API_URL; without one it starts a local server for the length of the run.

    Example:  ecos run outsource.yaml
    """
    from ecos_cli.demo import point_at_server
    from ecos_cli.local_services import free_port, prefect_server
    from ecos_cli.prefect_server import check_server
    from ecos_cli.project import find_project
    from ecos_cli.results_text import results_table
    from ecos_core.config import OutsourceConfig

    asked = settings(OutsourceConfig, "run", {}, config=config or config_file, sets=sets)
    find_project()
    home = home.absolute()
    if asked.tracking.uri is None and "MLFLOW_TRACKING_URI" not in os.environ:
        home.mkdir(parents=True, exist_ok=True)
        tracking = asked.tracking.model_copy(update={"uri": f"sqlite:///{home / 'mlflow.db'}"})
        asked = asked.model_copy(update={"tracking": tracking})
    with ExitStack() as stack:
        if "PREFECT_API_URL" not in os.environ:
            point_at_server(home, stack.enter_context(prefect_server(home, free_port())).url)
        else:
            check_server(os.environ["PREFECT_API_URL"])
        progress = stack.enter_context(progress_bar(quiet=as_json))
        from flows.outsource import outsource
        from tasks.progress import also_show, send_what_is_left

        also_show(progress)
        from prefect.exceptions import CancelledRun

        try:
            result = outsource(asked)
        except CancelledRun as error:
            raise PolicyError("a person refused the cost; no privacy was spent") from error
        finally:
            send_what_is_left()
    assert isinstance(result, dict), "a state that is no result raises"
    emit(
        {
            "rows": result["rows"],
            "mlflow_uri": asked.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"),
            "report": result["report"],
            "privacy": result["privacy"],
        },
        as_json=as_json,
        text=f"{results_table(result['rows'])}\nreport    {result['report']}",
    )
