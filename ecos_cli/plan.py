"""``ecos plan``: the noise that an epsilon asks for, or the epsilons of a noise."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit

if TYPE_CHECKING:
    from ecos_core.privacy.planner import Plan, ScoreNoise

app = typer.Typer(add_completion=False)


@app.command()
def plan(
    epsilon: Annotated[float | None, typer.Option(help="What all releases together may cost.")] = None,
    sigma: Annotated[float | None, typer.Option(help="Give the noise instead, and see its cost.")] = None,
    delta: Annotated[float, typer.Option(help="Probability with which epsilon may fail.")] = 1e-5,
    releases: Annotated[int, typer.Option(help="How many answers of this noise.")] = 1,
    adjacency: Annotated[str, typer.Option(help="add-remove, replace or unit.")] = "add-remove",
    gamma: Annotated[float, typer.Option(help="Poisson sampling rate; 1: no subsampling.")] = 1.0,
    clusters: Annotated[int | None, typer.Option(help="Clusters that the scores are for.")] = None,
    records: Annotated[int | None, typer.Option(help="Order of magnitude of the client's records.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The noise that an epsilon asks for, or the epsilon of a noise.

    Nothing is read or spent. epsilon is what a client charges, also when questions follow from earlier answers;
    epsilon_autodp is autodp's for fixed questions, where autodp is installed; epsilon_paper what the original
    paper's looser accounting claims for the same sigma.

    Examples:

      ecos plan --epsilon 0.582 --delta 1e-5 --clusters 100 --records 1000

      ecos plan --sigma 10 --gamma 0.8
    """
    from ecos_core.errors import InputError
    from ecos_core.privacy.events import Adjacency
    from ecos_core.privacy.planner import plan_epsilon, plan_sigma, score_noise

    if adjacency not in list(Adjacency):
        raise InputError(f"--adjacency '{adjacency}' is unknown: use one of {', '.join(Adjacency)}")
    options: dict[str, Any] = {"adjacency": Adjacency(adjacency), "gamma": gamma, "releases": releases}
    if epsilon is not None and sigma is None:
        found = plan_sigma(epsilon, delta, **options)
    elif sigma is not None and epsilon is None:
        found = plan_epsilon(sigma, delta, **options)
    else:
        raise InputError("give one of --epsilon and --sigma: the other is computed")
    result: dict[str, Any] = asdict(found)
    text = _plan_text(found)
    if records is not None or clusters is not None:
        noise = score_noise(found.sigma, clusters=clusters, records=records)
        result["scores"] = asdict(noise)
        text += _noise_text(noise, suggested=clusters is None)
    emit(result, as_json=as_json, text=text)


def _plan_text(plan: Plan) -> str:
    autodp = "not installed" if plan.epsilon_autodp is None else f"{plan.epsilon_autodp:.4g}   autodp"
    sampled = "" if plan.gamma == 1.0 else f", Poisson sampling at gamma {plan.gamma:g}"
    return (
        f"{plan.releases} release(s), {plan.adjacency}, delta {plan.delta:g}{sampled}\n"
        f"  sigma            {plan.sigma:.5g}\n"
        f"  epsilon          {plan.epsilon:.4g}   charged, discrete Gaussian\n"
        f"  epsilon_autodp   {autodp}\n"
        f"  epsilon_paper    {plan.epsilon_paper:.4g}   the paper's accounting, gamma {plan.paper_gamma:g}"
    )


def _noise_text(noise: ScoreNoise, *, suggested: bool) -> str:
    from ecos_core.privacy.planner import SIGNAL_TO_NOISE

    text = (
        f"\n\nscores of {noise.clusters:,} clusters{' (suggested)' if suggested else ''}\n"
        f"  empty above 2 sigma   {noise.empty_above_2_sigma:.1f}   clusters, if all were empty\n"
        f"  records needed        {noise.records_needed:,}   for a signal to noise n / (R sigma) of {SIGNAL_TO_NOISE:g}"
    )
    if noise.records is None:
        return text
    return text + (
        f"\nwith about {noise.records:,} records\n"
        f"  signal to noise       {noise.signal_to_noise:.2f}   1 to 3 is good: "
        f"about {noise.suggested_clusters:,} clusters\n"
        f"  wrong order           {noise.wrong_order:.1%}   of pairs with once and twice the average score\n"
        f"  noise share           {noise.noise_share:.0%}   of clipped scores, if half the clusters are empty"
    )
