"""k-means over a sample of the lake: one signature, whatever library runs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.backends import Backend, BackendName, choose_backend
from ecos_core.clustering.fitting import FitOptions
from ecos_core.errors import InputError

POINTS_PER_CENTROID = 256
# Above this many points a cluster cannot have lost its last member in the last step of a converging run.
CHECK_EMPTY_BELOW = 65_536
ROUNDS_TO_FILL = 10
# More clusters than this are fitted in two levels.
FLAT_CLUSTERS = 10_000


@dataclass(frozen=True)
class Centroids:
    """``vectors`` float32 [R, d]; ``inertia``: mean squared L2 distance of the sample to them; how they were
    made."""

    vectors: NDArray[np.float32]
    inertia: float
    backend: str
    device: str
    reason: str

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def digest(self) -> str:
        """sha256 over shape and numbers, 64 hex digits."""
        return centroids_digest(self.vectors)


def centroids_digest(vectors: NDArray[np.float32]) -> str:
    """sha256 over shape and numbers, 64 hex digits."""
    size = np.array(vectors.shape, "<i8").tobytes()
    return hashlib.sha256(size + np.ascontiguousarray(vectors, "<f4").tobytes()).hexdigest()


def fit_kmeans(
    sample: NDArray[Any],
    clusters: int,
    *,
    seed: int,
    backend: BackendName = "auto",
    spherical: bool = False,
    iterations: int = 25,
) -> Centroids:
    """Fit ``clusters`` centroids to ``sample`` [n, d] (256 points a centroid are enough).

    Deterministic for a seed, a backend and a number of threads. No centroid is left without a point of the
    sample. ``spherical``: centroids of norm 1; the features must be normalised. Raises InputError when there
    are more clusters than (different) points, or a number is not finite.
    """
    sample = np.ascontiguousarray(sample, np.float32)
    _check(sample, clusters, iterations, spherical)
    chosen = choose_backend(backend)
    options = FitOptions(clusters, seed, iterations, spherical)
    if clusters > FLAT_CLUSTERS:
        vectors, inertia = _fit_two_levels(sample, options, chosen)
    else:
        vectors, inertia = chosen.fit(sample, options)
    if len(sample) < CHECK_EMPTY_BELOW:
        vectors = _fill_empty(sample, vectors)
    if not np.isfinite(vectors).all():
        raise InputError(f"k-means by {chosen.name} gave NaN or infinity: check the features' scale")
    return Centroids(vectors, inertia / len(sample), chosen.name, chosen.device, chosen.reason)


def _fit_two_levels(
    sample: NDArray[np.float32], options: FitOptions, backend: Backend
) -> tuple[NDArray[np.float32], float]:
    """sqrt(R) coarse clusters, each split into its share of the R by its number of points.

    The work is n sqrt(R) instead of n R products an iteration; the price is a larger inertia: on a smooth
    cloud within 20 % of the flat fit, on few well-separated groups it can be several times as large. Shares
    are by largest remainder, at least one and never more than the points there are.
    """
    coarse, _ = backend.fit(sample, replace(options, clusters=round(options.clusters**0.5)))
    groups, _ = nearest(sample, coarse)
    sizes = np.bincount(groups, minlength=len(coarse))
    shares = _shares(sizes, options.clusters)
    parts, inertia = [], 0.0
    for group in np.flatnonzero(shares):
        points = np.ascontiguousarray(sample[groups == group])
        vectors, squares = backend.fit(points, replace(options, clusters=int(shares[group])))
        parts.append(vectors)
        inertia += squares
    return np.concatenate(parts), inertia


def _shares(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Divide ``total`` <= sum of ``sizes`` in proportion: 1..size for every size above 0, summing to
    ``total``."""
    exact = sizes * (total / sizes.sum())
    shares = np.clip(np.floor(exact).astype(np.int64), np.minimum(sizes, 1), sizes)
    while (left := total - int(shares.sum())) != 0:
        room = shares < sizes if left > 0 else shares > 1
        wanted = np.where(room, (exact - shares) * np.sign(left), -np.inf)
        chosen = np.argsort(-wanted, kind="stable")[: min(abs(left), int(room.sum()))]
        shares[chosen] += np.sign(left)
    return shares


def _check(sample: NDArray[np.float32], clusters: int, iterations: int, spherical: bool) -> None:
    if sample.ndim != 2:
        raise InputError(f"the sample must be [n, d], not of shape {sample.shape}")
    if clusters < 1 or iterations < 1:
        raise InputError("--clusters and the number of iterations must be 1 or more")
    if clusters > len(sample):
        raise InputError(f"--clusters {clusters}: more clusters than images ({len(sample)}); ask for fewer")
    if not np.isfinite(sample.sum(axis=0, dtype=np.float64)).all():
        raise InputError("the features hold NaN or infinity: extract them again")
    if spherical and np.abs(np.linalg.norm(sample[:1000], axis=1) - 1).max() > 0.01:
        raise InputError(
            "--spherical needs features of norm 1: use a normalising extractor without a projection"
        )


def _fill_empty(sample: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move every centroid without a point to the point that is farthest from its own; repeat until none is
    empty."""
    for _ in range(ROUNDS_TO_FILL):
        ids, distances = nearest(sample, vectors)
        empty = np.flatnonzero(np.bincount(ids, minlength=len(vectors)) == 0)
        if len(empty) == 0:
            return vectors
        vectors = vectors.copy()
        for cluster in empty:
            far = int(distances.argmax())
            if distances[far] == 0:
                break
            vectors[cluster] = sample[far]
            distances = np.minimum(distances, np.linalg.norm(sample - sample[far], axis=1))
    raise InputError(
        f"--clusters {len(vectors)}: {len(empty)} of them stay empty, the images are too few or too alike; "
        "ask for fewer"
    )
