"""Diversely decompress: the steps of a sampling as tasks, and what a run's page and MLflow show of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import SampleConfig
from ecos_core.reporting import figures
from ecos_core.reporting.montage import contact_sheet
from ecos_core.reporting.style import png
from ecos_core.sampling.selection import Selection
from ecos_core.sampling.store import read_selection
from ecos_core.stages import sampling
from ecos_core.stages.reporting import sample_pictures
from ecos_core.stages.sampling import Sampled, Steps, selecting_of
from ecos_core.stages.scoring import StoredScores
from ecos_core.stages.selecting import Selecting, StoredSelection, proximity_of, publish_latest
from ecos_core.storage import Location
from tasks.artifacts import show_link, show_picture, show_table, show_text
from tasks.progress import PrefectProgress
from tasks.scoring import score_with_client
from tasks.timing import core_work
from tasks.tracking import outside_metrics, privacy_metrics, run_address, tracked_run

MONTAGE_IMAGES = 60


@task(name="open sampling", cache_policy=NO_CACHE)
def open_sampling(config: SampleConfig) -> Selecting:
    """The choice from the named clustering, or from the lake's latest."""
    return selecting_of(config, named=True, progress=PrefectProgress())


@task(name="check choice", cache_policy=NO_CACHE)
def check_before_asking(selecting: Selecting, answers: Location) -> None:
    """Fail in the first second, before privacy is spent, on what could not be chosen or kept."""
    with core_work():
        sampling.check(selecting, answers)


@task(name="select", cache_policy=NO_CACHE, task_run_name="select {selecting.choice.budget}")
def select_subset(selecting: Selecting, scores: StoredScores | None) -> StoredSelection:
    """Choose and write the selection; finished work is found and reused."""
    with core_work():
        return sampling.select(selecting, scores)


@task(name="publish selection", cache_policy=NO_CACHE)
def publish_selection(selecting: Selecting, sampled: Sampled) -> None:
    """Make it the latest of its folder, and show on the run's page what was chosen and why."""
    publish_latest(selecting.folder, sampled.selection.folder)
    chosen, manifest = read_selection(sampled.selection.folder)
    if sampled.scores is not None and sampled.scores.account is not None:
        chart = figures.scores(chosen.cluster_noisy, sampled.scores.account.sigma, chosen.cluster_score)
        show_picture("scores", png(chart), "The client's noised answer and what denoising made of it")
    show_picture(
        "quotas",
        png(figures.quotas(chosen.cluster_quota, chosen.cluster_size)),
        "Images asked of each cluster",
    )
    shown = chosen.sample_id[:MONTAGE_IMAGES].tolist()
    pictures = sample_pictures(selecting.lake, selecting.lake.snapshot(manifest.inputs["lake"]), shown)
    show_picture("montage", contact_sheet([pictures[sample] for sample in shown]), "The first picks")
    show_table("picks", reasons_of(chosen), f"Selection {sampled.selection.folder}")


STEPS = Steps(check=check_before_asking, ask=score_with_client, select=select_subset)


def reasons_of(chosen: Selection) -> list[dict[str, Any]]:
    """How many images were picked or left out for each reason."""
    reasons = Counter(chosen.reason.tolist()) + Counter(
        f"left out: {reason}" for reason in chosen.omitted.reason.tolist()
    )
    return [{"reason": reason, "images": count} for reason, count in reasons.items()]


def tell_what_happened(config: SampleConfig, sampled: Sampled) -> None:
    """The run in three sentences, the first thing on its page."""
    told = [
        f"**{sampled.selection.rows:,} images** of `{config.lake}` were chosen by *{config.sampler}*: "
        f"`{sampled.selection.folder}`."
    ]
    short = f"{sampled.selection.rows:,} images chosen"
    account = None if sampled.scores is None else sampled.scores.account
    if account is not None:
        short += f" at epsilon {account.epsilon_release:.4g}"
        limit = "" if account.epsilon_limit is None else f" of {account.epsilon_limit:.4g}"
        told.append(
            f"The client answered at **epsilon {account.epsilon_release:.4g}**; its data has paid "
            f"{account.epsilon:.4g}{limit} in all."
        )
    if sampled.scores is not None and sampled.scores.outside is not None:
        told.append(sampled.scores.outside["words"])
    told.append(
        "Below: its noised answer, what was asked of each cluster, the first picks, and why each was picked."
    )
    show_text("what-happened", "\n\n".join(told), short)


@task(name="log selection", cache_policy=NO_CACHE)
def log_selection(config: SampleConfig, sampled: Sampled) -> str:
    """An MLflow run with the parameters, the account, the receipt and the picks. Returns the run's id."""
    name, selection = f"{config.sampler} {config.budget}", sampled.selection
    with tracked_run(config.tracking, name, tags={"ecos.kind": "selection"}) as run:
        run.params(config.model_dump(mode="json"))
        run.inputs({"selection": (str(selection.folder), selection.digest)})
        run.metrics({"selected": selection.rows})
        nearness = proximity_of(str(selection.folder))
        if nearness is not None:
            run.metrics({"proximity/kl_reduction": nearness})
        if sampled.scores is not None:
            run.metrics(privacy_metrics(sampled.scores.account))
            run.metrics(outside_metrics(sampled.scores.outside))
            run.folder(sampled.scores.folder, ["manifest.json"], "receipt")
        run.folder(selection.folder, ["selection.parquet", "manifest.json"], "selection")
        address = run_address(run)
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run", "Compare it with others in MLflow")
    return run.id
