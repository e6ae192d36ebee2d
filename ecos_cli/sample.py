"""`ecos sample`: ask a client for scores and choose a subset."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ecos_cli.client_options import ClientOptions, asks_client
from ecos_cli.output import JsonOption, emit, progress_bar, warn
from ecos_cli.settings import ConfigOption, SetOption, noise_options, settings
from ecos_core.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False)

FLAGS = {
    "lake": "--lake",
    "budget": "--budget",
    "out": "--out",
    "client.url": "--client",
    "client.token_file": "--token-file",
}


@app.command()
@asks_client
def sample(
    client: ClientOptions,
    lake: Annotated[str | None, typer.Option(help="The lake's folder or URL.")] = None,
    budget: Annotated[int | None, typer.Option(help="Images to choose.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for the selection.")] = None,
    epsilon: Annotated[
        float | None, typer.Option(help="What this one release may cost (default 0.58).")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="Standard deviation of the noise, instead of epsilon.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="The delta that epsilon is stated at (default 1e-5).")
    ] = None,
    adjacency: Annotated[str | None, typer.Option(help="add-remove (the default), replace or unit.")] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Share of the client's records asked, fresh each time (default 1).")
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="ecos (the default), ecos_paper, random, k_center, proximity, dsir or balanced."),
    ] = None,
    continue_from: Annotated[
        str | None,
        typer.Option(
            help="An earlier selection: its images count towards the budget and are not chosen again."
        ),
    ] = None,
    clustering: Annotated[
        str | None, typer.Option(help="An older clustering of the lake; default: the latest.")
    ] = None,
    denoise: Annotated[str | None, typer.Option(help="empirical_bayes, or clip as in the paper.")] = None,
    k_center_on: Annotated[
        str | None, typer.Option(help="Where k-center runs: cpu, or gpu (float32, near ties may swap).")
    ] = None,
    licence_allow: Annotated[
        list[str] | None, typer.Option(help="Only images of this licence (again for more).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="For the samplers that draw (default 0).")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Where clusters are searched: local, or ray (a Ray cluster, RAY_ADDRESS)."),
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose a budgeted, diverse subset of a lake that stands in for a client's private images.

    Example:  ecos sample --lake lake --client http://127.0.0.1:8731 --token-file token --budget 1000 --out selection
    """
    from ecos_core.config import SampleConfig

    options: dict[str, Any] = {
        "lake": lake,
        "out": out,
        "budget": budget,
        "sampler": sampler,
        "continue_from": continue_from,
        "clustering": clustering,
        "seed": seed,
        "engine": engine,
        "sampling.denoise": denoise,
        "sampling.licence_allow": licence_allow,
        "sampling.k_center_on": k_center_on,
        "privacy.delta": delta,
        "privacy.adjacency": adjacency,
        "privacy.gamma": gamma,
        **noise_options(epsilon, sigma),
        **(client if client["client.url"] or config else {}),
    }
    asked = settings(SampleConfig, "sample", options, config=config, sets=sets, flags=FLAGS)
    with progress_bar(quiet=as_json) as progress:
        sampled = run(asked, progress)
    told = sampled.told()
    privacy = told["privacy"] or {}
    cost = (
        f"epsilon   {privacy['epsilon_release']:.3f} for this release, {privacy['epsilon']:.3f} in all "
        f"(autodp {privacy['epsilon_autodp']:.3f}) at delta {privacy['delta']:g}\n"
        if privacy
        else ""
    )
    outside = f"outside   {told['outside']['words']}\n" if told["outside"] else ""
    emit(
        {
            "selected": told["selected"],
            "budget": asked.budget,
            "epsilon": privacy.get("epsilon_release"),
            "epsilon_total": privacy.get("epsilon"),
            "epsilon_autodp": privacy.get("epsilon_autodp"),
            "delta": privacy.get("delta"),
            "selection": told["selection"],
            "clustering": told["clustering"],
            "receipt": told["scores"],
            "outside": told["outside"],
        },
        as_json=as_json,
        text=f"{told['selected']} images chosen with {asked.sampler}\n{cost}{outside}selection {told['selection']}",
    )


def run(config: Any, progress: Any) -> Any:
    """Score and select without an orchestrator; the selection lies in ``out`` itself."""
    from ecos_core.stages.sampling import coarser_or_finer, sample, selecting_of

    selecting = selecting_of(config, progress=progress)
    if config.client is not None and (advice := coarser_or_finer(selecting, config.client, config.privacy)):
        warn(f"ecos: {advice}")
    sampled = sample(selecting, config.client, config.privacy, selecting.lake.folder("scores"))
    if sampled is None:
        raise InputError("the cost was refused; nothing was spent")
    return sampled
