"""`ecos demo`: the whole job on images that come with packages."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit, progress_bar, warn
from ecos_core.errors import InputError
from ecos_core.progress import ProgressSink

if TYPE_CHECKING:
    from ecos_cli.local_services import Service
    from ecos_core.config import OutsourceConfig

app = typer.Typer(pretty_exceptions_enable=False)

PREFECT_PORT = 4200
MLFLOW_PORT = 5000
SAMPLERS = ["ecos", "random", "k_center"]


@app.command()
def demo(
    client: Annotated[
        str, typer.Option(help="The client's domain: mnist, mnist_m, optdigits or synth_digits.")
    ] = "mnist",
    budget: Annotated[int, typer.Option(help="Images to select.", min=1)] = 300,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas.")] = "1,2,3",
    epsilon: Annotated[float, typer.Option(help="What one release may cost.")] = 0.58,
    client_epsilon: Annotated[float, typer.Option(help="Hard limit of the demo client's ledger.")] = 2.0,
    clusters: Annotated[int, typer.Option(help="Clusters of the lake (R).", min=1)] = 100,
    image_size: Annotated[int, typer.Option(help="Side of the image that the backbone sees, px.")] = 64,
    uses: Annotated[
        str, typer.Option(help="What to train on each selection, with commas: linear_probe, fine_tune, …")
    ] = "linear_probe",
    home: Annotated[Path, typer.Option(help="Everything is kept here; run again to reuse it.")] = Path(
        ".ecos/demo"
    ),
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Only keep the Prefect and MLflow pages of earlier runs up, until Ctrl-C."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Outsource a training end to end: a lake of 9,000 digits, a client in a process of its own, a comparison.

    Example:  ecos demo --client mnist --budget 300
    """
    from ecos_cli.demo_data import check_domain, prepare
    from ecos_cli.local_services import free_port, prefect_server

    check_domain(client)
    home = home.absolute()
    if serve:
        keep_pages_up(home)
        return
    parsed, wanted = parse_seeds(seeds), parse_uses(uses)
    began = time.perf_counter()
    with (
        prefect_server(home, free_port(PREFECT_PORT), wait=False) as prefect,
        progress_bar(quiet=as_json) as progress,
    ):
        data = prepare(home, client, progress)
        config = demo_config(
            home, data.folder, client=client, budget=budget, seeds=parsed, epsilon=epsilon, clusters=clusters,
            image_size=image_size, uses=wanted,
        )  # fmt: skip
        init_client(data.folder, client_epsilon, image_size)
        result, overhead = run_flow(prefect, home, data.folder, config, progress)
    wall = time.perf_counter() - began
    emit(
        {
            "rows": result["rows"],
            "mlflow_uri": config.tracking.uri,
            "report": result["report"],
            "privacy": result["privacy"],
            "seconds": wall,
            "prefect_share": overhead / wall,
        },
        as_json=as_json,
        text=summary(result, home, wall, overhead),
    )


def parse_seeds(text: str) -> list[int]:
    """Raises InputError for anything but whole numbers with commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds {text}: whole numbers with commas are needed, such as 1,2,3") from error


def parse_uses(text: str) -> list[str]:
    """Raises InputError for a name that is no use."""
    from ecos_core.training.config import Use

    names, known = [name.strip() for name in text.split(",")], [use.value for use in Use]
    strange = [name for name in names if name not in known]
    if strange:
        raise InputError(f"--uses {strange[0]}: give some of {', '.join(known)}, with commas")
    return names


def demo_config(
    home: Path,
    folder: Path,
    *,
    client: str,
    budget: int,
    seeds: list[int],
    epsilon: float,
    clusters: int,
    image_size: int,
    uses: list[str],
) -> OutsourceConfig:
    """The demo as anybody's outsourcing."""
    from ecos_core.config import OutsourceConfig, validated

    content = {
        "index": {
            "lake": str(folder / "lake"),
            "sources": [
                {"path": str(folder / "lake-images"), "source": "demo", "licence": "see docs/lake.md"}
            ],
            "extractor": {"image_size": image_size},
            "clusters": clusters,
        },
        "client": {
            "name": client,
            "url": "http://127.0.0.1:1",
            "token_file": str(folder / "client" / "token"),
        },
        "out": str(folder / "run"),
        "test": str(folder / "test"),
        "budgets": [budget],
        "samplers": SAMPLERS,
        "seeds": seeds,
        "privacy": {"epsilon": epsilon},
        "training": {"image_size": image_size},
        "uses": uses,
        "tracking": {"uri": f"sqlite:///{home / 'mlflow.db'}", "experiment": f"demo {client}"},
    }
    return validated(content, OutsourceConfig, "demo")


def init_client(folder: Path, epsilon: float, image_size: int) -> None:
    """Make the demo client in its own folder, by the command that a data owner uses."""
    import subprocess

    from ecos_cli.local_services import python

    if (folder / "client" / "home.json").exists():
        return
    warn("making the client: its own folder, data, key and ledger")
    command = python(
        "ecos_cli.main", "client", "init", "--home", str(folder / "client"), "--images", str(folder / "private"),
        "--epsilon", str(epsilon), "--delta", "1e-5", "--image-size", str(image_size), "--records", "1000",
        "--answer-after", "0.2", "--json",
    )  # fmt: skip
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if finished.returncode:
        raise SystemExit(finished.returncode)


def run_flow(
    prefect: Service, home: Path, folder: Path, config: OutsourceConfig, progress: ProgressSink
) -> tuple[dict[str, Any], float]:
    """Start the client and run the flow. Returns the result and the seconds that Prefect took: waiting for its server,
    and whatever of the flow was no step's own work."""
    from ecos_cli.local_services import LOOPBACK, free_port, python, running
    from ecos_cli.project import find_project

    find_project()
    port = str(free_port())
    address = f"http://{LOOPBACK}:{port}"
    config = config.model_copy(update={"client": config.client.model_copy(update={"url": address})})
    serve = python("ecos_cli.main", "client", "serve", "--home", str(folder / "client"), "--port", port)
    warn("starting the client, a process of its own")
    log = home / "logs" / "client.log"
    with running("the client", serve, url=address, health="/v1/health", log=log):
        began = time.perf_counter()
        prefect.wait_ready()
        point_at_server(home, prefect.url)
        from flows.demo import demo as demo_flow
        from tasks.progress import also_show, send_what_is_left

        also_show(progress)
        result: dict[str, Any] = demo_flow(config, str(folder / "client"))
        send_what_is_left()
        took = time.perf_counter() - began
    return result, took - result["core_seconds"]


def point_at_server(home: Path, url: str) -> None:
    """Configure Prefect and MLflow in this process, before they are imported."""
    from ecos_cli.local_services import LOOPBACK, QUIET

    os.environ.update(
        QUIET
        | {
            "PREFECT_API_URL": f"{url}/api",
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
            "PREFECT_LOGGING_HANDLERS_TASK_RUNS_LEVEL": "INFO",
            "ECOS_MLFLOW_ARTIFACTS": str(home / "mlflow-artifacts"),
            "ECOS_MLFLOW_UI": f"http://{LOOPBACK}:{MLFLOW_PORT}",
        }
    )


def keep_pages_up(home: Path) -> None:
    """Serve the Prefect and MLflow pages of earlier runs until interrupted."""
    import signal

    from ecos_cli.local_services import free_port, mlflow_ui, prefect_server

    if not (home / "mlflow.db").exists():
        raise InputError(f"{home}: nothing to show yet; run  ecos demo --home {home}  first")
    with (
        prefect_server(home, free_port(PREFECT_PORT)) as prefect,
        mlflow_ui(f"sqlite:///{home / 'mlflow.db'}", home, free_port(MLFLOW_PORT)) as mlflow,
    ):
        warn(f"Prefect  {prefect.url}\nMLflow   {mlflow.url}\nCtrl-C stops both.")
        signal.pause()


def summary(result: dict[str, Any], home: Path, wall: float, overhead: float) -> str:
    """The table and where to look."""
    from ecos_cli.results_text import results_table

    privacy = result["privacy"]
    return "\n".join(
        [
            results_table(result["rows"]),
            f"privacy   this client's data has paid epsilon {privacy['epsilon']:.3f} in all "
            f"(autodp {privacy['epsilon_autodp']:.3f}) at delta {privacy['delta']:g}; a repeat costs nothing",
            f"time      {wall:.0f} s, of which Prefect {100 * overhead / wall:.0f} %",
            f"report    {result['report']}",
            f"Prefect   http://127.0.0.1:{PREFECT_PORT}   and   MLflow   http://127.0.0.1:{MLFLOW_PORT}",
            f"          keep both up with:  ecos demo --home {home} --serve",
        ]
    )
