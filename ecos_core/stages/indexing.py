"""Compress: bring images in, extract their features, cluster them. Each part does only what is missing."""

from __future__ import annotations

from collections import Counter

from ecos_core.clustering.auto import choose_clusters
from ecos_core.clustering.clustering import Clustering, cluster_lake
from ecos_core.clustering.duplicates import Duplicates, find_duplicates, stored_duplicates
from ecos_core.config import ExtractorConfig, ImageSource, IndexConfig
from ecos_core.features.extraction import extract_lake
from ecos_core.features.feature_set import FeatureSet
from ecos_core.features.lake_extractor import extractor_for_lake, held_modality
from ecos_core.features.ray_tasks import Workplace
from ecos_core.lake.ingest import IngestReport, ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.modality import IMAGE
from ecos_core.lake.near_duplicates import find_leaks
from ecos_core.lake.sources import open_source
from ecos_core.progress import ProgressSink, silent
from ecos_core.storage import Location


def ingest_source(lake: str, source: ImageSource, *, progress: ProgressSink = silent) -> IngestReport:
    """Bring one source's samples into the lake, which is made where there is none."""
    return ingest(
        open_source(source.path, source.source, layout=source.layout),
        Lake.open_or_create(lake),
        domain=source.domain,
        source=source.source,
        licence=source.licence,
        progress=progress,
    )


def extract(
    lake: str,
    config: ExtractorConfig,
    *,
    engine: Workplace = "local",
    progress: ProgressSink = silent,
) -> FeatureSet:
    """Extract what is missing of the lake's newest snapshot."""
    opened = Lake.open(lake)
    extractor = extractor_for_lake(opened, config.name, image_size=config.image_size, weights=config.weights)
    return extract_lake(opened, extractor, projection=config.projection, engine=engine, progress=progress)


def cluster(
    lake: str, features: FeatureSet, config: IndexConfig, *, progress: ProgressSink = silent
) -> Clustering:
    """Fit centroids, or assign new images to the latest ones. `auto` needs the client's stated records and sigma."""
    clusters = config.clusters
    if clusters == "auto":
        clusters = choose_clusters(features.rows, config.records, config.sigma)
    return cluster_lake(
        Lake.open(lake),
        features,
        clusters=clusters,
        seed=config.seed,
        recluster=config.recluster,
        engine=config.engine,
        progress=progress,
    )


def mark_duplicates(lake: str, clustering: Clustering, *, progress: ProgressSink = silent) -> Duplicates:
    """Find the near-duplicates of a clustering and keep their groups for all samplers."""
    return find_duplicates(Lake.open(lake), clustering, progress=progress)


def lake_facts(lake: str, clustering_id: str, test: str | None = None) -> dict[str, int]:
    """Counts that a run's record carries: images, refusals by reason, near-duplicates, leaked test images.

    ``lake/test_images_inside``: images under ``test`` that are, or nearly are, an image of the lake.
    """
    opened = Lake.open(lake)
    clustering = Clustering.open(opened, clustering_id)
    snapshot = opened.snapshot(clustering.snapshot_id)
    facts = {"lake/images": clustering.rows}
    for reason, count in sorted(Counter(row["reason"] for row in opened.read_quarantine(snapshot)).items()):
        facts[f"lake/quarantined/{reason}"] = count
    if (duplicates := stored_duplicates(clustering)) is not None:
        facts["lake/near_duplicates"] = duplicates.superfluous
    if test is not None and held_modality(opened, snapshot) is IMAGE:
        leaks = find_leaks(opened, Location.of(test).path, snapshot)
        facts["lake/test_images_inside"] = len({leak.test_image for leak in leaks})
    return facts
