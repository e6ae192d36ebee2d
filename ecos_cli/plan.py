"""``ecos plan``: the noise that an epsilon asks for, or the epsilons of a noise."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit

if TYPE_CHECKING:
    from ecos_core.privacy.planner import Plan

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

    Nothing is read or spent. epsilon is exact (discrete Gaussian), epsilon_autodp is autodp's,
    epsilon_paper the looser accounting of the original paper for the same sigma.

    Examples:

      ecos plan --epsilon 0.582 --delta 1e-5 --clusters 100 --records 1000

      ecos plan --sigma 10 --gamma 0.8
    """
    from ecos_core.errors import InputError
    from ecos_core.privacy.planner import plan_epsilon, plan_sigma

    if (epsilon is None) == (sigma is None):
        raise InputError("give one of --epsilon and --sigma: the other is computed")
    options: dict[str, Any] = {"adjacency": adjacency, "gamma": gamma, "releases": releases}
    if epsilon is not None:
        found = plan_sigma(epsilon, delta, **options)
    else:
        assert sigma is not None
        found = plan_epsilon(sigma, delta, **options)
    result = asdict(found)
    emit(result, as_json=as_json, text=_text(found))


def _text(plan: Plan) -> str:
    return (
        f"sigma            {plan.sigma:.4g}\n"
        f"epsilon          {plan.epsilon:.4g}  (exact, discrete Gaussian)\n"
        f"epsilon_autodp   {plan.epsilon_autodp:.4g}"
    )
