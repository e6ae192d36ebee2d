"""`ecos deploy`: register the deployments on a Prefect server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit
from ecos_core.errors import InputError, RemoteError

app = typer.Typer(pretty_exceptions_enable=False)

WORK_POOLS = {"ecos-cpu": 4, "ecos-gpu": 1}
OPTIONS = {
    "ecos_lake": "--lake",
    "ecos_client_url": "--client",
    "ecos_client_token_file": "--token-file",
    "ecos_out": "--out",
    "ecos_tracking_uri": "--tracking",
}


@app.command()
def deploy(
    lake: Annotated[str | None, typer.Option(help="The lake's folder or URL.")] = None,
    client: Annotated[str | None, typer.Option(help="The client's address, http(s)://host:port.")] = None,
    token_file: Annotated[
        str | None, typer.Option(help="The requester's token file, on the workers' machine.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder for selections, models and hand-offs.")] = None,
    tracking: Annotated[
        str | None,
        typer.Option(help="MLflow tracking URI, as the workers see it.", envvar="MLFLOW_TRACKING_URI"),
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Public test images, class/file, that outsource/whole compares by.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of the schedules, such as Europe/Berlin; at first UTC.")
    ] = None,
    notify: Annotated[str | None, typer.Option(help="Webhook that is told of failed runs.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the work pools, register every deployment of prefect.yaml and an automation for each. Idempotent.

    The server is the one of PREFECT_API_URL. What is left out stays as the last `ecos deploy` has set it, so that an
    upgrade is `ecos deploy` alone.

    Example:  ecos deploy --lake lake --client http://127.0.0.1:8731 --token-file token --out runs
              --tracking http://127.0.0.1:5000
    """
    from ecos_cli.project import find_project
    from ecos_core import __version__

    project = find_project()
    if "PREFECT_API_URL" not in os.environ:
        raise InputError(
            "PREFECT_API_URL is not set: the address of the Prefect server, such as http://127.0.0.1:4200/api"
        )
    if timezone:
        check_timezone(timezone)
    given = {
        "ecos_lake": absolute(lake),
        "ecos_client_url": client,
        "ecos_client_token_file": absolute(token_file),
        "ecos_out": absolute(out),
        "ecos_tracking_uri": tracking,
        "ecos_test": absolute(test),
        "ecos_timezone": timezone,
    }
    from ecos_cli.prefect_server import check_server

    check_server(os.environ["PREFECT_API_URL"])
    from ecos_cli import prefect_objects as server

    variables = complete(given, server.known_variables(given))
    server.ensure_variables({**variables, "ecos_version": __version__})
    server.ensure_work_pools(WORK_POOLS)
    register(project)
    deployments = server.list_deployments()
    automations = server.ensure_automations(
        deployments, server.notification_block(notify) if notify else None
    )
    result: dict[str, Any] = {
        "deployments": sorted(deployments),
        "work_pools": sorted(WORK_POOLS),
        "automations": automations,
    }
    lines = [f"deployed  {name}" for name in result["deployments"]]
    lines.append("start a worker with:  deployments/run.sh worker ecos-cpu   (and one for ecos-gpu)")
    emit(result, as_json=as_json, text="\n".join(lines))


def complete(given: dict[str, str | None], known: dict[str, str]) -> dict[str, str]:
    """What was given, else what the server knows. Raises InputError naming the options that are missing."""
    values = {name: value or known.get(name) for name, value in given.items()}
    values["ecos_timezone"] = values["ecos_timezone"] or "UTC"
    test = values.pop("ecos_test")  # only an outsourcing needs it, and says so where it is missing
    missing = [OPTIONS[name] for name, value in values.items() if not value]
    if missing:
        raise InputError(f"the first time, `ecos deploy` also needs {', '.join(missing)}")
    found = values | ({"ecos_test": test} if test else {})
    return {name: str(value) for name, value in found.items()}


def absolute(address: str | None) -> str | None:
    """Workers start in other folders: a local path must be absolute."""
    if not address:
        return None
    return address if "://" in address else str(Path(address).expanduser().absolute())


def check_timezone(name: str) -> None:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"--timezone {name}: no such time zone; use a name such as Europe/Berlin") from error


def register(project: Path) -> None:
    """`prefect deploy --all`, as a person would."""
    finished = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        last = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-1:]
        raise RemoteError(f"prefect deploy failed: {' '.join(last)}", retryable=False)
