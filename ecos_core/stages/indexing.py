"""Compress: bring images in, extract their features, cluster them. Each part does only what is missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ecos_core.clustering.auto import USUAL_CLUSTERS, choose_clusters, is_far
from ecos_core.clustering.clustering import Clustering, cluster_lake, head
from ecos_core.clustering.duplicates import Duplicates, find_duplicates, stored_duplicates
from ecos_core.config import ClientConfig, ImageSource, IndexConfig, PrivacyConfig
from ecos_core.errors import InputError, RemoteError
from ecos_core.features.extraction import extract_lake
from ecos_core.features.feature_set import FeatureSet
from ecos_core.features.lake_extractor import extractor_for_lake, held_modality
from ecos_core.lake.ingest import IngestReport, ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.modality import IMAGE
from ecos_core.lake.near_duplicates import find_leaks
from ecos_core.lake.sources import open_source
from ecos_core.progress import ProgressSink, silent
from ecos_core.stages.scoring import connect, planned
from ecos_core.storage import Location


@dataclass(frozen=True)
class Number:
    """How many clusters, and why."""

    clusters: int
    reason: str


@dataclass(frozen=True)
class Clustered:
    """A clustering and why it has that many clusters."""

    clustering: Clustering
    reason: str


@dataclass(frozen=True)
class Indexed:
    """A lake extracted and clustered. ``near_duplicates``: images set aside; None where nobody looked."""

    clustering: Clustering
    reason: str
    near_duplicates: int | None

    def told(self) -> dict[str, Any]:
        """As JSON, for who called from outside."""
        return {
            "clustering": self.clustering.id,
            "clusters": self.clustering.clusters,
            "images": self.clustering.rows,
            "near_duplicates": self.near_duplicates,
            "fingerprint": self.clustering.fingerprint,
        }


def ingest_source(lake: str, source: ImageSource, *, progress: ProgressSink = silent) -> IngestReport:
    """Bring one source's samples into the lake, which is made where there is none."""
    return ingest(
        open_source(source.path, source.source, layout=source.layout, split=source.split),
        Lake.open_or_create(lake),
        domain=source.domain,
        source=source.source,
        licence=source.licence,
        attribution=source.attribution,
        by_reference=source.by_reference,
        progress=progress,
    )


def index(config: IndexConfig, *, progress: ProgressSink = silent) -> Indexed:
    """Extract what is missing, cluster, and find near-duplicates where that is asked for."""
    check_clusters(config)
    clustered = cluster(config, extract(config, progress=progress), progress=progress)
    found = None
    if config.near_duplicates:
        found = mark_duplicates(config.lake, clustered.clustering, progress=progress).superfluous
    return Indexed(clustered.clustering, clustered.reason, found)


def check_clusters(config: IndexConfig) -> None:
    """Raises InputError for more clusters than images, before anything is extracted."""
    rows = Lake.open(config.lake).snapshot().rows
    if config.clusters != "auto" and config.clusters > rows:
        raise InputError(f"--clusters {config.clusters}: more clusters than images ({rows}); ask for fewer")


def extract(config: IndexConfig, *, progress: ProgressSink = silent) -> FeatureSet:
    """Extract what is missing of the lake's newest snapshot."""
    lake, asked = Lake.open(config.lake), config.extractor
    extractor = extractor_for_lake(
        lake,
        asked.name,
        image_size=asked.image_size,
        weights=asked.weights,
        engine=asked.runtime,
        device=asked.device,
    )
    return extract_lake(
        lake,
        extractor,
        dtype=asked.dtype,
        projection=asked.projection,
        engine=config.engine,
        progress=progress,
    )


def cluster(
    config: IndexConfig,
    features: FeatureSet,
    *,
    root: Location | None = None,
    progress: ProgressSink = silent,
) -> Clustered:
    """Fit centroids, or assign new images to the latest ones; with ``root`` a clustering of its own, kept there."""
    number = how_many_clusters(config, features.rows, None if root else features)
    made = cluster_lake(
        Lake.open(config.lake),
        features,
        clusters=number.clusters,
        seed=config.seed,
        spherical=config.spherical,
        backend=config.backend,
        recluster=config.recluster,
        root=root,
        engine=config.engine,
        progress=progress,
    )
    return Clustered(made, number.reason)


def how_many_clusters(config: IndexConfig, images: int, features: FeatureSet | None = None) -> Number:
    """What ``config.clusters`` comes to for so many images. `auto`: by the records that the client states and the noise
    that is planned; the newest clustering of ``features``' extractor is kept where it is not far from that, or where
    nothing is known.

    Raises InputError, and RemoteError where the client cannot be asked and there is no clustering yet.
    """
    if config.clusters != "auto":
        return Number(config.clusters, f"{config.clusters:,} clusters, as asked for")
    newest = None if features is None or config.recluster else _newest(config.lake, features)
    why = "no client is known" if config.client is None else "the client states no number of records"
    try:
        records = config.records or stated_records(config.client)
    except RemoteError:
        if newest is None:
            raise
        records, why = None, "the client does not answer now"
    if records is None:
        if newest is not None:
            return Number(newest, f"{newest:,} clusters, as the newest clustering has: {why}")
        usual = min(USUAL_CLUSTERS, images)
        return Number(usual, f"{usual:,} clusters, the usual number: {why} (--client URL --epsilon E)")
    sigma = planned(config.privacy or PrivacyConfig()).sigma if config.sigma is None else config.sigma
    wanted = choose_clusters(images, records, sigma)
    known = f"{records:,} records at noise sigma {sigma:.3g}"
    if newest is not None and not is_far(newest, wanted):
        return Number(
            newest, f"{newest:,} clusters, as the newest clustering has: near {wanted:,}, for {known}"
        )
    return Number(wanted, f"{wanted:,} clusters, for {known}")


def stated_records(client: ClientConfig | None) -> int | None:
    """The order of magnitude that the client's owner chose to state, for nothing; None where none is stated."""
    if client is None:
        return None
    with connect(client) as connection:
        return connection.info().stated_records


def _newest(lake: str, features: FeatureSet) -> int | None:
    """Clusters of the lake's newest clustering, if it is of this extractor."""
    opened = Lake.open(lake)
    if head(opened) is None:
        return None
    newest = Clustering.open(opened)
    return newest.clusters if newest.fingerprint == features.fingerprint else None


def mark_duplicates(lake: str, clustering: Clustering, *, progress: ProgressSink = silent) -> Duplicates:
    """Find the near-duplicates of a clustering and keep their groups for all samplers."""
    return find_duplicates(Lake.open(lake), clustering, progress=progress)


def lake_facts(lake: str, clustering: Clustering, test: str | None = None) -> dict[str, int]:
    """Counts that a run's record carries: images, refusals by reason, near-duplicates, leaked test images.

    ``lake/test_images_inside``: images under ``test`` that are, or nearly are, an image of the lake.
    """
    opened = Lake.open(lake)
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
