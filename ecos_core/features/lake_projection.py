"""The projection of a lake: fitted once on a sample of its images, then kept while the lake grows."""

from __future__ import annotations

import json

import numpy as np

from ecos_core.errors import InputError
from ecos_core.features.batches import Reporter, extract_batches, image_batches
from ecos_core.features.extractor import EXTRACTOR_NAME, PROJECTION_NAME, Extractor
from ecos_core.features.projection import Projection, fit_projection, read_projection
from ecos_core.lake.lake import Lake
from ecos_core.progress import ProgressSink, silent

PROJECTION_SAMPLE = 20_000
PROJECTION_SHARDS = 64


def project_for_lake(
    lake: Lake, extractor: Extractor, dimension: int, *, seed: int = 0, progress: ProgressSink = silent
) -> Extractor:
    """``extractor`` with the lake's projection to ``dimension`` numbers: the one already in use here, or a
    new fit.

    A new fit would change the fingerprint and with it every feature, so an existing one is kept as the lake
    grows.
    """
    for name in lake.folder("features").names():
        saved = _saved_projection(lake, name, extractor, dimension)
        if saved:
            return extractor.with_projection(saved)
    return extractor.with_projection(
        fit_lake_projection(lake, extractor, dimension, seed=seed, progress=progress)
    )


def _saved_projection(
    lake: Lake, fingerprint: str, extractor: Extractor, dimension: int
) -> Projection | None:
    folder = lake.folder("features") / fingerprint
    try:
        record = json.loads((folder / EXTRACTOR_NAME).read_bytes())
    except FileNotFoundError:
        return None
    if record["projection"] is None or record["dimension"] != dimension:
        return None
    projection = read_projection((folder / PROJECTION_NAME).read_bytes())
    return projection if extractor.with_projection(projection).fingerprint == fingerprint else None


def fit_lake_projection(
    lake: Lake, extractor: Extractor, dimension: int, *, seed: int = 0, progress: ProgressSink = silent
) -> Projection:
    """PCA on the features of up to 20,000 images drawn from up to 64 shards of the newest snapshot.

    ``extractor`` must have no projection yet. Raises InputError when ``dimension`` is more than the sample
    allows.
    """
    generator = np.random.default_rng(seed)
    shards = lake.snapshot().shards
    picked = sorted(generator.choice(len(shards), min(PROJECTION_SHARDS, len(shards)), replace=False))
    quota = -(-PROJECTION_SAMPLE // len(picked))
    report = Reporter(
        progress, sum(min(quota, shards[index].rows) for index in picked), 0, "fit the projection"
    )
    features = []
    for index in picked:
        shard = shards[index]
        rows = np.sort(generator.choice(shard.rows, min(quota, shard.rows), replace=False))
        batches = image_batches(lake, [shard], extractor.batch_images, rows)
        for result in extract_batches(extractor, batches, None):
            report.add(len(result.batch.sample_ids), len(result.failures))
            if result.features is not None:
                features.append(result.features)
    if not features:
        raise InputError(
            f"{lake.location}: no image could be decoded, so there is nothing to fit a projection on"
        )
    return fit_projection(np.concatenate(features), dimension)
