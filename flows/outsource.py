"""The whole job: index, score, sample with each sampler, train on each selection, compare, report."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from ecos_core.config import OutsourceConfig
from ecos_core.errors import InputError
from ecos_core.progress import Progress
from ecos_core.stages.clusterings import beside
from ecos_core.stages.comparing import Cell
from ecos_core.stages.outsourcing import compared_samplings, index_for_comparison, privacy_of, questions
from ecos_core.stages.sampling import Steps, sample
from ecos_core.storage import Location
from flows.approval import may_spend
from tasks.comparison import compare_and_report
from tasks.indexing import cluster_beside, extract_features, ingest_images
from tasks.progress import PrefectProgress, on_terminal
from tasks.sampling import STEPS, check_before_asking
from tasks.timing import core_seconds
from tasks.tracking import check_tracking
from tasks.training import check_training, train_and_evaluate

CHECKED = Steps(check=lambda selecting, answers: None, ask=STEPS.ask, select=STEPS.select)


@flow(name="outsource", flow_run_name="outsource {config.tracking.experiment}", persist_result=False)
def outsource(config: OutsourceConfig) -> dict[str, Any] | State[Any]:
    """Find the part of the lake that stands in for a client's data, train on it, and compare with baselines."""
    result = run_outsourcing(config, {})
    return result or Cancelled(message="A person refused the cost; no privacy was spent.")


def run_outsourcing(config: OutsourceConfig, more: Mapping[str, Steps]) -> dict[str, Any] | None:
    """Every seed clusters anew, so that the spread over seeds holds the clustering's, the noise's and the pick's.

    Each selection is made once, from one answer of the client, and trained on in every use. ``more``: samplers beyond
    ``config.samplers``, each with its own way to its scores. Raises InputError, before anything is asked, without a
    public test set, where there would be nothing to compare by, and for a choice or a use that cannot be. None where a
    person refused what all seeds cost together; nothing was spent then.
    """
    if not config.test:
        raise InputError(
            "test: an outsourcing compares accuracies; give a public folder of class/file (ecos deploy --test)"
        )
    began, out = core_seconds(), Location.of(config.out)
    check_tracking(config.tracking)
    ingest_images(config.index)
    features = extract_features(config.index)
    index = index_for_comparison(config, features.rows)
    uses, budgets, samplers = config.compared_uses, sorted(config.budgets), [*config.samplers, *more]
    total, cells = len(config.seeds) * len(samplers) * len(budgets) * len(uses), list[Cell]()
    for seed in config.seeds:
        clustering = cluster_beside(index, features, seed, beside(out))
        samplings = compared_samplings(config, clustering, seed, samplers, PrefectProgress())
        if seed == config.seeds[0]:
            for selecting in samplings.values():
                check_before_asking(selecting, out / "scores")
            check_training(config.index.lake, features.fingerprint, uses, config.training, test=config.test)
            for asked in questions(config, samplings):
                if not may_spend(config.client, asked, len(config.seeds)):
                    return None
        for sampler, selecting in samplings.items():
            privacy = privacy_of(config, sampler)
            sampled = sample(selecting, config.client, privacy, out / "scores", more.get(sampler, CHECKED))
            assert sampled is not None, "nobody is asked for approval here"
            for budget, use in product(budgets, uses):
                folder = out / "models" / f"{sampled.selection.folder.name}-{budget}-{use.value}"
                training = config.training.model_copy(update={"use": use, "budget": budget, "seeds": (seed,)})
                trained = train_and_evaluate(
                    config.index.lake,
                    str(sampled.selection.folder),
                    str(folder),
                    config=training,
                    test=config.test,
                )
                on_terminal(Progress("select and train", len(cells) + 1, total, "trainings"))
                cells.append(Cell(sampler, budget, use, seed, clustering, sampled, trained))
    compared = compare_and_report(config, cells)
    return {**compared.told(), "core_seconds": core_seconds() - began}
