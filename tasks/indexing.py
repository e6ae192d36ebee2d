"""Compress: ingest, extract, cluster."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from ecos_core.clustering.clustering import Clustering
from ecos_core.config import IndexConfig
from ecos_core.errors import EcosError
from ecos_core.lake.lake import Lake
from ecos_core.stages import indexing
from ecos_core.stages.quality import cluster_quality, cluster_sheet
from tasks.artifacts import show_picture, show_table
from tasks.progress import PrefectProgress

TABLE_CLUSTERS = 100


@task(name="ingest", cache_policy=NO_CACHE, task_run_name="ingest {config.lake}")
def ingest_images(config: IndexConfig) -> dict[str, Any]:
    """Bring every source in. Returns the counts and the snapshot they made."""
    began = time.perf_counter()
    progress = PrefectProgress()
    counts = {"added": 0, "duplicates": 0, "quarantined": 0}
    reasons: Counter[str] = Counter()
    snapshot = None
    for source in config.sources:
        report = indexing.ingest_source(config.lake, source, progress=progress)
        counts["added"] += report.added
        counts["duplicates"] += report.duplicates
        counts["quarantined"] += report.quarantined
        reasons.update(report.reasons)
        snapshot = report.snapshot
    show_table("ingest", [counts], f"Images brought into {config.lake}")
    refused = [{"reason": reason, "images": count} for reason, count in sorted(reasons.items())]
    show_table("quarantine", refused, "Refused; ecos lake quarantine lists each file")
    return {**counts, "reasons": dict(reasons), "snapshot": snapshot, "seconds": time.perf_counter() - began}


@task(name="index", cache_policy=NO_CACHE, task_run_name="index {config.lake}")
def extract_and_cluster(config: IndexConfig) -> dict[str, Any]:
    """Extract what is missing and cluster. Returns the clustering's id and figures."""
    began = time.perf_counter()
    progress = PrefectProgress()
    features = indexing.extract(config.lake, config.extractor, engine=config.engine, progress=progress)
    clustering = indexing.cluster(config.lake, features, config, progress=progress)
    found = (
        indexing.mark_duplicates(config.lake, clustering, progress=progress)
        if config.near_duplicates
        else None
    )
    show_clusters(Lake.open(config.lake), clustering)
    told = {
        "clustering": clustering.id,
        "clusters": clustering.clusters,
        "images": clustering.rows,
        "near_duplicates": None if found is None else found.superfluous,
    }
    show_table(
        "index", [told], f"Images of {config.lake} in clusters; near-duplicates are left out by samplers"
    )
    return {**told, "fingerprint": clustering.fingerprint, "seconds": time.perf_counter() - began}


def show_clusters(lake: Lake, clustering: Clustering) -> None:
    """On the run's page: sizes and inertia of the largest clusters, and a picture of their nearest members."""
    rows = [
        {
            "cluster": row.cluster,
            "images": row.images,
            "inertia": row.inertia,
            "mean square distance": row.mean_square_distance,
        }
        for row in cluster_quality(clustering)[:TABLE_CLUSTERS]
    ]
    show_table(
        "clusters", rows, f"The largest of {clustering.clusters} clusters (clustering {clustering.id})"
    )
    try:
        sheet = cluster_sheet(lake, clustering)
    except EcosError as error:  # such as an image that the lake only refers to and that is gone
        get_run_logger().warning("no pictures of the clusters: %s", error)
        return
    show_picture("cluster-montage", sheet, "Nearest members of the largest clusters, a row a cluster")


@task(name="resolve clustering", cache_policy=NO_CACHE)
def resolve_clustering(lake: str, clustering: str | None) -> str:
    """The id of the named clustering, or of the lake's latest."""
    return Clustering.open(Lake.open(lake), clustering).id
