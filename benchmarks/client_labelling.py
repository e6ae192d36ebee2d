"""Automated client labelling at equal epsilon: nobody labels the lake, the client does, under noise.

``histogram``: one release, the class-by-cluster histogram; it gives the scores and labels for any number of
picks. ``majority``: the same release, each cluster taking its largest noisy count. ``knn``: the product's
private k nearest neighbours, one query a pick; on ECOS's selection a quarter of the privacy (1 / sigma^2) is
spent on the scores, on the others' all of it on labels. Gaussian mechanisms compose by 1 / sigma^2, so all
rows of one epsilon cost the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grid import JobData, noisy_histogram, planned_sigma
from ecos_core.labelling.class_histogram import ClassHistogram
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores
from ecos_core.training.linear_probe import train_linear_probe

EPSILONS = (0.582, 2.0, 8.0)
QUERIES = (30, 100, 300, 1000)
SCORES_SHARE = 0.25
NEIGHBOURS = 100
# Screening is switched off: under this noise it would drop points at random and still be paid for.
NO_SCREENING = {"threshold": -1e6, "screening_sigma": 1e5}


def measure(data: JobData, samplers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows {method, sampler, epsilon, budget, label_accuracy, accuracy}; the budget counts labelled picks."""
    return [
        row
        for epsilon in EPSILONS
        for row in (*_by_histogram(data, samplers, epsilon), *_by_neighbours(data, samplers, epsilon))
    ]


def class_histogram(data: JobData, epsilon: float) -> ClassHistogram:
    """The client's answer: int64 [R, C] under discrete Gaussian noise."""
    from ecos_core.privacy.mechanisms import discrete_gaussian_noise

    sigma = planned_sigma(epsilon, data.grid.delta)
    classes = np.unique(data.images.labels)
    counts = np.zeros((data.grid.clusters, len(classes)), np.int64)
    np.add.at(counts, (data.votes, np.searchsorted(classes, data.images.labels[data.client])), 1)
    noise = discrete_gaussian_noise(counts.size, sigma).reshape(counts.shape)
    return ClassHistogram(counts + noise, tuple(classes.tolist()), sigma)


def _by_histogram(data: JobData, samplers: tuple[str, ...], epsilon: float) -> Iterator[dict[str, Any]]:
    answer = class_histogram(data, epsilon)
    for sampler in samplers:
        rows, clusters = _picks(data, sampler, answer.scores())
        features = data.images.features[rows]
        given = {
            "histogram": answer.labels(features, clusters, data.pool.centroids),
            "majority": answer.majority()[clusters],
        }
        for method, labels in given.items():
            for budget in QUERIES:
                yield _row(data, method, sampler, epsilon, rows[:budget], labels[:budget])


def _by_neighbours(data: JobData, samplers: tuple[str, ...], epsilon: float) -> Iterator[dict[str, Any]]:
    sigma = planned_sigma(epsilon, data.grid.delta)
    for sampler in samplers:
        asks = sampler == "ecos"
        spent = sigma / math.sqrt(SCORES_SHARE)
        scores = Scores(noisy_histogram(data, spent, 1.0), spent) if asks else None
        rows, _ = _picks(data, sampler, scores)
        for budget in QUERIES:
            noise = knn_sigma(sigma, budget, 1 - SCORES_SHARE if asks else 1.0)
            labels = _neighbours_say(data, rows[:budget], noise)
            yield _row(data, "knn", sampler, epsilon, rows[:budget], labels)


def knn_sigma(sigma: float, queries: int, share: float) -> float:
    """Noise of the votes, of which one record moves two by one, so that ``queries`` answers cost ``share`` of
    what one histogram of noise ``sigma`` costs."""
    return sigma * math.sqrt(2 * queries / share)


def _neighbours_say(data: JobData, rows: NDArray[np.int64], noise: float) -> NDArray[np.str_]:
    from ecos_core.client.knn import noised_labels
    from ecos_core.client.operations.label import vote
    from ecos_core.client.operations.operation import Neighbours
    from ecos_core.client.records import PrivateFeatures
    from ecos_core.privacy.mechanisms import discrete_gaussian_noise

    images, client = data.images, data.client
    classes = tuple(np.unique(images.labels).tolist())
    held = PrivateFeatures(images.features[client], images.labels[client].tolist(), np.arange(len(client)))
    query = Neighbours(vote, images.features[rows], classes, NEIGHBOURS, **NO_SCREENING, argmax_sigma=noise)
    voting = discrete_gaussian_noise(len(rows) * len(classes), noise).reshape(len(rows), -1)
    found = noised_labels(held, query, np.zeros(len(rows), np.int64), voting, by_unit=False)
    return np.array(classes)[found]


def _picks(
    data: JobData, sampler: str, scores: Scores | None
) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]]:
    asked = scores if sampler == "ecos" else None
    selection = SAMPLERS[sampler](
        data.pool, max(QUERIES), scores=asked, config=SamplerConfig(), seed=data.job.seed
    )
    return data.rows_of(selection.sample_id), np.asarray(selection.cluster)


def _row(
    data: JobData,
    method: str,
    sampler: str,
    epsilon: float,
    rows: NDArray[np.int64],
    labels: NDArray[np.str_],
) -> dict[str, Any]:
    images = data.images
    probe = train_linear_probe(images.features[rows], labels, c=data.grid.c)
    return {
        "method": method,
        "sampler": sampler,
        "epsilon": epsilon,
        "budget": len(rows),
        "label_accuracy": float((labels == images.labels[rows]).mean()),
        "accuracy": float((probe.predict(images.features[data.test]) == images.labels[data.test]).mean()),
    }
