"""The noise-free reference of the demo: what the client's answer would be without privacy.

Only the demo, which owns both sides, may compute it; no flow for real clients imports this module.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.client.home import open_home
from ecos_core.client.operations.nearest import nearest_centroids
from ecos_core.clustering.clustering import Clustering
from ecos_core.lake.lake import Lake
from ecos_core.stages.scoring import write_scores
from ecos_core.storage import Location


@task(name="noise-free reference", cache_policy=NO_CACHE)
def score_noise_free(lake: str, clustering_id: str, client_home: str, out: str) -> dict[str, Any]:
    """Count the demo client's own nearest centroids, without noise, ledger or receipt."""
    began = time.perf_counter()
    clustering = Clustering.open(Lake.open(lake), clustering_id)
    private = open_home(Path(client_home)).features(clustering.fingerprint).features
    nearest = np.concatenate(list(nearest_centroids(private, clustering.centroids)))
    counts = np.bincount(nearest, minlength=clustering.clusters)
    privacy = {"sigma": 0.0, "adjacency": "none", "note": "noise-free reference of the demo"}
    stored = write_scores(
        clustering, counts.astype(np.int64), Location.of(out) / clustering_id, privacy, None
    )
    return {
        "scores": str(stored.folder),
        "privacy": privacy,
        "seconds": time.perf_counter() - began,
    }
