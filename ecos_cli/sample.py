"""`ecos sample`: ask a client for scores and choose a subset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError
from ecos_core.progress import ProgressSink, silent

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def sample(
    lake: Annotated[str, typer.Option(help="The lake's folder or URL.")],
    budget: Annotated[int, typer.Option(help="Images to choose.")],
    out: Annotated[str, typer.Option(help="Folder for the selection.")],
    client: Annotated[
        str | None, typer.Option(help="The client's address, such as http://127.0.0.1:8731.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with this requester's token.")] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="What this one release may cost (default 0.58).")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Standard deviation of the noise, instead of epsilon.")
    ] = None,
    delta: Annotated[float, typer.Option(help="The delta that epsilon is stated at.")] = 1e-5,
    adjacency: Annotated[str, typer.Option(help="add-remove, replace or unit.")] = "add-remove",
    gamma: Annotated[float, typer.Option(help="Share of the client's records asked, fresh each time.")] = 1.0,
    sampler: Annotated[
        str, typer.Option(help="ecos, ecos_paper, random, k_center, proximity, dsir or balanced.")
    ] = "ecos",
    clustering: Annotated[
        str | None, typer.Option(help="An older clustering of the lake; default: the latest.")
    ] = None,
    denoise: Annotated[str | None, typer.Option(help="empirical_bayes, or clip as in the paper.")] = None,
    k_center_on: Annotated[
        str, typer.Option(help="Where k-center runs: cpu, or gpu (float32, near ties may swap).")
    ] = "cpu",
    licence_allow: Annotated[
        list[str] | None, typer.Option(help="Only images of this licence (again for more).")
    ] = None,
    seed: Annotated[int, typer.Option(help="For the samplers that draw.")] = 0,
    on: Annotated[
        str, typer.Option(help="Where clusters are searched: local, or ray (a Ray cluster, RAY_ADDRESS).")
    ] = "local",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the client's answer, each time.")] = 60,
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM file of the authority behind the client's TLS certificate.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose a budgeted, diverse subset of a lake that stands in for a client's private images.

    Example:  ecos sample --lake lake --client http://127.0.0.1:8731 --token-file token --budget 1000 --out selection
    """
    from ecos_core.config import SampleConfig, validated

    if epsilon is None and sigma is None:
        epsilon = 0.58
    content: dict[str, Any] = {
        "lake": lake,
        "out": out,
        "budget": budget,
        "sampler": sampler,
        "clustering": clustering,
        "seed": seed,
        "engine": on,
        "privacy": {
            "epsilon": epsilon,
            "sigma": sigma,
            "delta": delta,
            "adjacency": adjacency,
            "gamma": gamma,
        },
    }
    content["sampling"] = {"licence_allow": licence_allow or [], "k_center_on": k_center_on}
    if denoise is not None:
        content["sampling"]["denoise"] = denoise
    if client is not None:
        if token_file is None:
            raise InputError(
                "--token-file is missing: the file with the token that the data owner handed out"
            )
        content["client"] = {
            "url": client,
            "token_file": str(token_file),
            "timeout_s": timeout,
            "certificate_authority": str(ca_file) if ca_file else None,
        }
    with progress_bar(quiet=as_json) as progress:
        result = run(validated(content, SampleConfig, "ecos sample"), progress)
    privacy = result["privacy"] or {}
    cost = (
        f"epsilon   {privacy['epsilon_release']:.3f} for this release, {privacy['epsilon']:.3f} in all "
        f"(autodp {privacy['epsilon_autodp']:.3f}) at delta {privacy['delta']:g}\n"
        if privacy
        else ""
    )
    emit(
        {
            "selected": result["selected"],
            "budget": budget,
            "epsilon": privacy.get("epsilon_release"),
            "epsilon_total": privacy.get("epsilon"),
            "epsilon_autodp": privacy.get("epsilon_autodp"),
            "delta": privacy.get("delta"),
            "selection": result["selection"],
            "clustering": result["clustering"],
            "receipt": result["scores"],
        },
        as_json=as_json,
        text=f"{result['selected']} images chosen with {sampler}\n{cost}selection {result['selection']}",
    )


def run(config: Any, progress: ProgressSink = silent) -> dict[str, Any]:
    """Score and select without an orchestrator; the selection lies in ``out`` itself."""
    from ecos_core.clustering.clustering import Clustering
    from ecos_core.lake.lake import Lake
    from ecos_core.stages.scoring import request_scores
    from ecos_core.stages.selecting import Choice, check_choice, check_folder, needs_scores, select
    from ecos_core.storage import Location

    opened = Lake.open(config.lake)
    clustering = Clustering.open(opened, config.clustering)
    choice = Choice(config.budget, config.sampler, config.sampling, config.seed)
    check_choice(opened, clustering, choice)
    folder = Location.of(config.out)
    check_folder(opened, clustering, choice, folder, named=False)
    stored = None
    if needs_scores(config.sampler):
        if config.client is None:
            raise InputError(
                f"sampler '{config.sampler}' works from a client's scores: give --client and --token-file"
            )
        stored = request_scores(clustering, config.client, config.privacy, opened.folder("scores"))
    selected = select(
        opened,
        clustering,
        choice,
        stored.folder if stored else None,
        folder,
        engine=config.engine,
        progress=progress,
    )
    return {
        "selected": selected.rows,
        "selection": str(selected.folder),
        "clustering": clustering.id,
        "privacy": stored.privacy if stored else None,
        "scores": str(stored.folder) if stored else None,
    }
