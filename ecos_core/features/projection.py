"""PCA fitted on a sample of the lake: fewer floats to send to the client, and to cluster.

The projection belongs to the extractor and to its fingerprint; the client applies the same matrix.
"""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError


@dataclass(frozen=True)
class Projection:
    """y = (x - mean) @ components. ``mean`` float32 [d]; ``components`` float32 [d, k], orthonormal columns.

    ``explained`` is the share of the sample's variance that the k directions keep, 0..1.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: float

    @property
    def digest(self) -> str:
        """sha256 over the numbers, 64 hex digits."""
        size = np.array(self.components.shape, "<i8").tobytes()
        numbers: bytes = self.mean.astype("<f4").tobytes() + self.components.astype("<f4").tobytes()
        return hashlib.sha256(size + numbers).hexdigest()

    @property
    def input_dimension(self) -> int:
        """Numbers in a feature before."""
        return int(self.components.shape[0])

    @property
    def dimension(self) -> int:
        """Numbers in a feature after."""
        return int(self.components.shape[1])

    @functools.cached_property
    def exact(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``mean`` and ``components`` in float64, for one record at a time."""
        return self.mean.astype(np.float64), self.components.astype(np.float64)

    def to_bytes(self) -> bytes:
        """As ``read_projection`` reads it."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean, components=self.components, explained=np.float64(self.explained))
        return buffer.getvalue()

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [n, d] to float32 [n, k]."""
        return np.asarray((features - self.mean) @ self.components, dtype=np.float32)


def read_projection(content: bytes) -> Projection:
    """What ``to_bytes`` wrote."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Projection(arrays["mean"], arrays["components"], float(arrays["explained"]))


def fit_projection(sample: NDArray[np.floating], dimension: int) -> Projection:
    """PCA by the eigenvectors of the covariance, in float64; each direction's largest entry is positive.

    ``sample`` [n, d], n > 1. Raises InputError when ``dimension`` is not in 1..min(n - 1, d) or
    a value is not finite.
    """
    rows, width = sample.shape
    if not 1 <= dimension <= min(rows - 1, width):
        raise InputError(
            f"--projection {dimension}: must be 1 to {min(rows - 1, width)} "
            f"({rows} images in the sample, features of {width} numbers)"
        )
    if not np.isfinite(sample).all():
        raise InputError("the sample for the projection holds NaN or infinity: re-extract the features")
    mean, covariance = _moments(sample)
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-values, kind="stable")[:dimension]
    components = vectors[:, order]
    largest = np.abs(components).argmax(axis=0)
    components = components * np.sign(components[largest, np.arange(dimension)])
    explained = float(values[order].sum() / max(values.sum(), np.finfo(np.float64).tiny))
    return Projection(mean.astype(np.float32), components.astype(np.float32), min(explained, 1.0))


def _moments(
    sample: NDArray[np.floating], chunk: int = 8192
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean: NDArray[np.float64] = sample.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((sample.shape[1], sample.shape[1]))
    for start in range(0, len(sample), chunk):
        centred = sample[start : start + chunk].astype(np.float64) - mean
        covariance += centred.T @ centred
    return mean, covariance / (len(sample) - 1)
