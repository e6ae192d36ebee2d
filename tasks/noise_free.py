"""The noise-free reference of the demo: what the client's answer would be without privacy.

Only the demo, which owns both sides, may compute it; no flow for real clients imports this module.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.client.home import open_home
from ecos_core.client.kernels.nearest import nearest_centroids
from ecos_core.stages.scoring import StoredScores, write_scores
from ecos_core.stages.selecting import Selecting
from ecos_core.storage import Location
from tasks.timing import core_work


@task(name="noise-free reference", cache_policy=NO_CACHE)
def score_noise_free(selecting: Selecting, client_home: str, out: str) -> StoredScores:
    """Count the demo client's own nearest centroids, without noise, ledger or receipt."""
    clustering = selecting.clustering
    with core_work():
        private = open_home(Path(client_home)).features(clustering.fingerprint).features
        nearest = np.concatenate(list(nearest_centroids(private, clustering.centroids)))
        counts = np.bincount(nearest, minlength=clustering.clusters).astype(np.int64)
        return write_scores(clustering, counts, Location.of(out) / clustering.id, None, None)
