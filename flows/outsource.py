"""The whole job: index, score, sample with each sampler, train on each selection, compare, report."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from prefect import flow

from ecos_core.config import IndexConfig, OutsourceConfig, PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.progress import Progress
from ecos_core.stages.selecting import needs_scores
from tasks.comparison import compare_and_report
from tasks.indexing import extract_and_cluster, ingest_images
from tasks.progress import on_terminal
from tasks.sampling import check_before_asking, select_subset
from tasks.scoring import score_with_client
from tasks.tracking import check_tracking
from tasks.training import check_training, train_and_evaluate

# The paper's own mechanism: Gaussian noise of sigma 10 on a fresh 80 % of the records.
PAPER_MECHANISM = {"epsilon": None, "sigma": 10.0, "gamma": 0.8}

# Rows of the table that are another's algorithm on other scores.
ALGORITHMS = {"ecos_noise_free": "ecos"}

# (lake, clustering id) -> {"scores": folder, "privacy": account, "seconds": spent}
ScoreSource = Callable[[str, str], dict[str, Any]]


@flow(name="outsource", flow_run_name="outsource {config.tracking.experiment}", persist_result=False)
def outsource(config: OutsourceConfig) -> dict[str, Any]:
    """Find the part of the lake that stands in for a client's data, train on it, and compare with baselines."""
    return run_outsourcing(config, score_sources(config))


def score_sources(config: OutsourceConfig) -> dict[str, ScoreSource]:
    """Where each sampler's scores come from: the client, with the planned noise or in the paper's mode."""

    def ask(privacy: PrivacyConfig) -> ScoreSource:
        return lambda lake, clustering: score_with_client(lake, clustering, config.client, privacy)

    paper_mode = config.privacy.model_copy(update=PAPER_MECHANISM)
    return {
        sampler: ask(paper_mode if sampler == "ecos_paper" else config.privacy)
        for sampler in config.samplers
        if needs_scores(sampler)
    }


def run_outsourcing(config: OutsourceConfig, sources: dict[str, ScoreSource]) -> dict[str, Any]:
    """Every seed clusters anew, so that the spread over seeds holds the clustering's, the noise's and the pick's.

    Each selection is made once, from one answer of the client, and trained on in every use. ``sources`` names the
    samplers that work from scores; the others are taken from ``config.samplers``. Raises InputError, before anything
    is asked, without a public test set, where there would be nothing to compare by, and for a choice or a use that
    cannot be.
    """
    if config.test is None:
        raise InputError("test: an outsourcing compares accuracies; give a public folder of class/file")
    check_tracking(config.tracking)
    steps = [ingest_images(config.index)]
    cells: list[dict[str, Any]] = []
    samplers = [*config.samplers, *(name for name in sources if name not in config.samplers)]
    uses = config.compared_uses
    total = len(config.seeds) * len(samplers) * len(config.budgets) * len(uses)
    for seed in config.seeds:
        indexed = extract_and_cluster(IndexConfig(**{**dict(config.index), "seed": seed, "recluster": True}))
        steps.append(indexed)
        if seed == config.seeds[0]:
            for sampler in samplers:
                check_before_asking(
                    config.index.lake,
                    indexed["clustering"],
                    f"{config.out}/selections",
                    budget=max(config.budgets),
                    sampler=ALGORITHMS.get(sampler, sampler),
                    config=config.sampling,
                    seed=seed,
                )
            steps.append(
                check_training(
                    config.index.lake, indexed["fingerprint"], uses, config.training, test=config.test
                )
            )
        answers: dict[str, dict[str, Any]] = {}
        for sampler in samplers:
            if sampler in sources:
                answers[sampler] = sources[sampler](config.index.lake, indexed["clustering"])
                steps.append(answers[sampler])
            selected = select_subset(
                config.index.lake,
                indexed["clustering"],
                f"{config.out}/selections",
                budget=max(config.budgets),
                sampler=ALGORITHMS.get(sampler, sampler),
                config=config.sampling,
                seed=seed,
                scores=answers[sampler]["scores"] if sampler in answers else None,
                engine=config.index.engine,
            )
            steps.append(selected)
            for budget, use in product(sorted(config.budgets), uses):
                trained = train_and_evaluate(
                    config.index.lake,
                    selected["selection"],
                    f"{config.out}/models/{selected['selection'].rsplit('/', 1)[-1]}-{budget}-{use.value}",
                    config=config.training.model_copy(
                        update={"use": use, "budget": budget, "seeds": (seed,)}
                    ),
                    test=config.test,
                )
                steps.append(trained)
                on_terminal(Progress("select and train", len(cells) + 1, total, "trainings"))
                cells.append(
                    {
                        "sampler": sampler,
                        "budget": budget,
                        "use": use.value,
                        "seed": seed,
                        "clustering": indexed["clustering"],
                        "selection": selected,
                        "scored": answers.get(sampler),
                        "trained": trained,
                    }
                )
    compared = compare_and_report(config, cells)
    core_seconds = sum(step["seconds"] for step in [*steps, compared])
    return {**compared, "core_seconds": core_seconds}
