"""Diversely decompress: choose and write a subset."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.clustering.clustering import Clustering
from ecos_core.config import SampleConfig
from ecos_core.features.ray_tasks import Workplace
from ecos_core.lake.lake import Lake
from ecos_core.reporting import figures
from ecos_core.reporting.montage import contact_sheet
from ecos_core.reporting.style import png
from ecos_core.sampling.config import SamplerConfig
from ecos_core.sampling.store import read_selection
from ecos_core.stages.reporting import sample_pictures
from ecos_core.stages.selecting import (
    Choice,
    check_choice,
    check_folder,
    proximity_of,
    publish_latest,
    select,
)
from ecos_core.storage import Location
from tasks.artifacts import show_link, show_picture, show_table, show_text
from tasks.progress import PrefectProgress
from tasks.tracking import privacy_metrics, run_address, tracked_run

MONTAGE_IMAGES = 60


@task(name="select", cache_policy=NO_CACHE, task_run_name="select {budget} with {sampler}")
def select_subset(
    lake: str,
    clustering_id: str,
    out: str,
    *,
    budget: int,
    sampler: str,
    config: SamplerConfig,
    seed: int,
    scores: str | None = None,
    engine: Workplace = "local",
) -> dict[str, Any]:
    """Returns the selection's folder and digest."""
    began = time.perf_counter()
    opened = Lake.open(lake)
    stored = select(
        opened,
        Clustering.open(opened, clustering_id),
        Choice(budget, sampler, config, seed),
        Location.of(scores) if scores else None,
        Location.of(out),
        named=True,
        engine=engine,
        progress=PrefectProgress(),
    )
    return {
        "selection": str(stored.folder),
        "digest": stored.digest,
        "selected": stored.rows,
        "seconds": time.perf_counter() - began,
    }


@task(name="check choice", cache_policy=NO_CACHE)
def check_before_asking(
    lake: str, clustering_id: str, out: str, *, budget: int, sampler: str, config: SamplerConfig, seed: int
) -> None:
    """Fail in the first second, before privacy is spent, on what could not be chosen or kept."""
    opened = Lake.open(lake)
    clustering, choice = Clustering.open(opened, clustering_id), Choice(budget, sampler, config, seed)
    check_choice(opened, clustering, choice)
    check_folder(opened, clustering, choice, Location.of(out), named=True)


@task(name="publish selection", cache_policy=NO_CACHE)
def publish_selection(lake: str, selection: str, out: str, account: dict[str, Any] | None) -> None:
    """Make it the latest of ``out``, and show on the run's page what was chosen and why."""
    publish_latest(Location.of(out), Location.of(selection))
    chosen, manifest = read_selection(selection)
    if account is not None:
        chart = figures.scores(chosen.cluster_noisy, account["sigma"], chosen.cluster_score)
        show_picture("scores", png(chart), "The client's noised answer and what denoising made of it")
    show_picture(
        "quotas",
        png(figures.quotas(chosen.cluster_quota, chosen.cluster_size)),
        "Images asked of each cluster",
    )
    opened = Lake.open(lake)
    shown = chosen.sample_id[:MONTAGE_IMAGES].tolist()
    pictures = sample_pictures(opened, opened.snapshot(manifest.inputs["lake"]), shown)
    show_picture("montage", contact_sheet([pictures[sample] for sample in shown]), "The first picks")
    reasons = Counter(chosen.reason.tolist()) + Counter(
        f"left out: {reason}" for reason in chosen.omitted.reason.tolist()
    )
    show_table(
        "picks",
        [{"reason": reason, "images": count} for reason, count in reasons.items()],
        f"Selection {selection}",
    )


def tell_what_happened(config: SampleConfig, selected: dict[str, Any], scored: dict[str, Any] | None) -> None:
    """The run in three sentences, the first thing on its page."""
    told = [
        f"**{selected['selected']:,} images** of `{config.lake}` were chosen by *{config.sampler}*: "
        f"`{selected['selection']}`."
    ]
    short = f"{selected['selected']:,} images chosen"
    if scored is not None:
        account = scored["privacy"]
        short += f" at epsilon {account['epsilon_release']:.4g}"
        limit = account.get("epsilon_limit")
        told.append(
            f"The client answered at **epsilon {account['epsilon_release']:.4g}**; its data has paid "
            f"{account['epsilon']:.4g}{f' of {limit:.4g}' if limit is not None else ''} in all."
        )
    told.append(
        "Below: its noised answer, what was asked of each cluster, the first picks, and why each was picked."
    )
    show_text("what-happened", "\n\n".join(told), short)


@task(name="log selection", cache_policy=NO_CACHE)
def log_selection(config: SampleConfig, selected: dict[str, Any], scored: dict[str, Any] | None) -> str:
    """An MLflow run with the parameters, the account, the receipt and the picks. Returns the run's id."""
    with tracked_run(
        config.tracking, f"{config.sampler} {config.budget}", tags={"ecos.kind": "selection"}
    ) as run:
        run.params(config.model_dump(mode="json"))
        run.inputs({"selection": (selected["selection"], selected["digest"])})
        run.metrics({"selected": selected["selected"]})
        nearness = proximity_of(selected["selection"])
        if nearness is not None:
            run.metrics({"proximity/kl_reduction": nearness})
        if scored is not None:
            run.metrics(privacy_metrics(scored["privacy"]))
            run.folder(Location.of(scored["scores"]), ["manifest.json"], "receipt")
        run.folder(Location.of(selected["selection"]), ["selection.parquet", "manifest.json"], "selection")
        address = run_address(run)
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run", "Compare it with others in MLflow")
    return run.id
