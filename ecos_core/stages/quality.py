"""How good a clustering is: the size and inertia of every cluster, and a look at its nearest members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecos_core.clustering.clustering import Clustering
from ecos_core.lake.lake import Lake
from ecos_core.reporting import data
from ecos_core.reporting.montage import contact_sheet
from ecos_core.stages.reporting import clustering_facts, lake_summary, sample_pictures, usable_samples

MEMBERS_SHOWN = 8
SHEET_CLUSTERS = 12


@dataclass(frozen=True)
class ClusterQuality:
    """One cluster. ``inertia``: sum of squared L2 distances to the centroid; ``largest_distance``: L2.

    ``nearest``: ids of its at most 8 members nearest the centroid.
    """

    cluster: int
    images: int
    inertia: float
    mean_square_distance: float
    largest_distance: float
    nearest: tuple[str, ...]


def cluster_quality(clustering: Clustering) -> list[ClusterQuality]:
    """Every cluster, the largest first; read from the clustering's statistics alone."""
    found = clustering.statistics
    return [
        ClusterQuality(
            cluster=row,
            images=int(found.sizes[row]),
            inertia=float(found.square_sums[row]),
            mean_square_distance=float(found.square_sums[row] / max(1, found.sizes[row])),
            largest_distance=float(found.largest[row]),
            nearest=tuple(found.nearest_ids[row][:MEMBERS_SHOWN]),
        )
        for row in np.argsort(-found.sizes, kind="stable").tolist()
    ]


def nearest_pictures(
    lake: Lake, clustering: Clustering, shown: list[ClusterQuality]
) -> list[tuple[bytes, ...]]:
    """Of each cluster the image files of its nearest members that the lake's licence rule lets one use."""
    snapshot = lake.snapshot(clustering.snapshot_id)
    ids = usable_samples(lake, snapshot, [sample for row in shown for sample in row.nearest])
    pictures = sample_pictures(lake, snapshot, ids)
    return [tuple(pictures[sample] for sample in row.nearest if sample in pictures) for row in shown]


def cluster_sheet(lake: Lake, clustering: Clustering, most: int = SHEET_CLUSTERS) -> bytes:
    """The nearest members of the ``most`` largest clusters on one PNG, a row a cluster."""
    rows = nearest_pictures(lake, clustering, cluster_quality(clustering)[:most])
    cells = [picture for row in rows for picture in (*row, *[None] * (MEMBERS_SHOWN - len(row)))]
    return contact_sheet(cells, columns=MEMBERS_SHOWN)


def clustering_report(lake_url: str, clustering_id: str | None = None, *, most: int = 100) -> data.ReportData:
    """The page of a clustering: lake, sizes, inertia, and the nearest members of the ``most`` largest clusters.

    Raises InputError when the lake has no such clustering.
    """
    lake = Lake.open(lake_url)
    clustering = Clustering.open(lake, clustering_id)
    every = cluster_quality(clustering)
    shown = [row for row in every[:most] if row.images]
    montages = tuple(
        data.Montage(f"cluster {row.cluster}", pictures, _caption(row))
        for row, pictures in zip(shown, nearest_pictures(lake, clustering, shown), strict=True)
    )
    left_out = f"; the {len(shown)} largest are shown" if len(shown) < len(every) else ""
    return data.ReportData(
        title=f"Clusters of {lake.location.name or lake_url}",
        subtitle=f"{clustering.rows:,} samples in {len(every):,} clusters{left_out}.",
        about="index",
        lake=lake_summary(lake, lake.snapshot(clustering.snapshot_id)),
        clustering=clustering_facts(clustering, montages),
        parameters=_figures(clustering),
        digests={
            "lake": clustering.snapshot_id,
            "clustering": clustering.id,
            "extractor": clustering.fingerprint,
        },
    )


def _caption(row: ClusterQuality) -> str:
    return (
        f"{row.images:,} images, mean squared distance {row.mean_square_distance:.4g}, "
        f"the farthest at {row.largest_distance:.3g}"
    )


def _figures(clustering: Clustering) -> dict[str, str | int]:
    summary, request = clustering.summary, clustering.manifest.parameters
    drift = {"drift of the new images": f"{summary['drift']:.3g}"} if "drift" in summary else {}
    return {
        "seed": request["seed"],
        "iterations": request["iterations"],
        "spherical": str(request["spherical"]).lower(),
        "stored features": request["dtype"],
        "inertia": f"{clustering.statistics.square_sums.sum():.6g}",
        "empty clusters": summary["empty_clusters"],
        **drift,
    }
