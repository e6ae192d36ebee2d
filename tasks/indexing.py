"""Compress: ingest, extract, cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from ecos_core.clustering.clustering import Clustering
from ecos_core.config import IndexConfig
from ecos_core.errors import EcosError
from ecos_core.features.feature_set import FeatureSet
from ecos_core.lake.lake import Lake
from ecos_core.stages import indexing
from ecos_core.stages.indexing import Indexed
from ecos_core.stages.quality import cluster_quality, cluster_sheet
from ecos_core.storage import Location
from tasks.artifacts import show_picture, show_table, show_text
from tasks.progress import PrefectProgress
from tasks.timing import core_work

TABLE_CLUSTERS = 100


@dataclass(frozen=True)
class Ingested:
    """What became of all sources' items; ``reasons`` counts the quarantined."""

    added: int = 0
    duplicates: int = 0
    quarantined: int = 0
    snapshot: str | None = None
    reasons: dict[str, int] = field(default_factory=dict)


@task(name="ingest", cache_policy=NO_CACHE, task_run_name="ingest {config.lake}")
def ingest_images(config: IndexConfig) -> Ingested:
    """Bring every source in. Returns the counts and the snapshot they made."""
    progress = PrefectProgress()
    with core_work():
        reports = [
            indexing.ingest_source(config.lake, source, progress=progress) for source in config.sources
        ]
    reasons: Counter[str] = Counter()
    for report in reports:
        reasons.update(report.reasons)
    told = Ingested(
        sum(report.added for report in reports),
        sum(report.duplicates for report in reports),
        sum(report.quarantined for report in reports),
        reports[-1].snapshot if reports else None,
        dict(reasons),
    )
    counts = {
        name: value for name, value in asdict(told).items() if name in ("added", "duplicates", "quarantined")
    }
    show_table("ingest", [counts], f"Images brought into {config.lake}")
    refused = [{"reason": reason, "images": count} for reason, count in sorted(reasons.items())]
    show_table("quarantine", refused, "Refused; ecos lake quarantine lists each file")
    return told


@task(name="index", cache_policy=NO_CACHE, task_run_name="index {config.lake}")
def extract_and_cluster(config: IndexConfig) -> Indexed:
    """Extract what is missing and cluster."""
    with core_work():
        indexed = indexing.index(config, progress=PrefectProgress())
    show_clusters(Lake.open(config.lake), indexed.clustering)
    show_table(
        "index",
        [indexed.told()],
        f"Images of {config.lake} in clusters; near-duplicates are left out by samplers",
    )
    show_text("clusters-why", indexed.reason)
    return indexed


@task(name="extract", cache_policy=NO_CACHE, task_run_name="extract {config.lake}")
def extract_features(config: IndexConfig) -> FeatureSet:
    """Extract what is missing."""
    with core_work():
        return indexing.extract(config, progress=PrefectProgress())


@task(name="cluster", cache_policy=NO_CACHE, task_run_name="cluster {config.lake}, seed {seed}")
def cluster_beside(config: IndexConfig, features: FeatureSet, seed: int, root: Location) -> Clustering:
    """A comparison's own clustering, kept at ``root``: the lake's newest stays what it is."""
    own = config.model_copy(update={"seed": seed})
    with core_work():
        return indexing.cluster(own, features, root=root, progress=PrefectProgress()).clustering


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
