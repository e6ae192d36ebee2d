"""Labels for any number of public samples from one release: the client's class-by-cluster histogram.

The counts are noised, so they are first denoised cell by cell. They then serve twice: summed over the
classes they are coverage scores, and taken as weighted samples, each cell standing at its cluster's
centroid, they train a classifier. The classifier reads a sample's own features, so samples of a cluster
that mixes classes need not all get its majority; the cluster's own shares are the other half of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.sampling.config import Scores
from ecos_core.sampling.denoising import denoise
from ecos_core.training.linear_probe import LinearProbe, train_linear_probe

Doubles = npt.NDArray[np.float64]
# Scores are whole numbers; estimated counts keep three digits after the point.
SCORE_SCALE = 1000
LEAST_WEIGHT = 1e-3
# A cell's count is never so sure that half a record more would not change it.
HALF_A_RECORD = 0.5


@dataclass(frozen=True)
class ClassHistogram:
    """A client's ``label-histogram`` answer.

    ``counts`` int64 [R, C] of clusters by ``classes``, with noise of standard deviation ``sigma`` (0: none).
    Raises InputError when the shapes do not fit.
    """

    counts: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    sigma: float

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.counts.shape[1] != len(self.classes) or len(self.classes) < 2:
            raise InputError(
                f"class histogram: shape {self.counts.shape} for {len(self.classes)} classes; "
                "give one column a class, two at least"
            )

    def estimated(self) -> Doubles:
        """Denoised counts float64 [R, C], never negative: empirical Bayes over all cells."""
        return denoise(self.counts.ravel(), self.sigma).reshape(self.counts.shape)

    def scores(self) -> Scores:
        """Coverage scores [R] for a sampler, in thousandths of a record; the noise is already dealt with.

        Summing the noisy counts instead would carry the noise of all C cells of a cluster, most of which
        are empty.
        """
        return Scores(np.rint(self.estimated().sum(axis=1) * SCORE_SCALE).astype(np.int64), 0.0)

    def majority(self) -> npt.NDArray[np.str_]:
        """The class with the largest noisy count of each cluster, strings [R]."""
        return np.asarray(self.classes)[self.counts.argmax(axis=1)]

    def classifier(self, centroids: npt.NDArray[np.floating], *, c: float = 0.01) -> LinearProbe:
        """A linear probe trained on the centroids float [R, d], each class weighted by its estimated count.

        Raises InputError when there is not one centroid a cluster, or no count is left above the noise.
        """
        weights = self.estimated()
        if len(centroids) != len(weights):
            raise InputError(f"class histogram: {len(centroids)} centroids for {len(weights)} clusters")
        clusters, columns = np.nonzero(weights > LEAST_WEIGHT)
        if not len(clusters):
            raise InputError("class histogram: all counts are noise; ask with more epsilon or fewer clusters")
        names: Sequence[str] = np.asarray(self.classes)[columns].tolist()
        return train_linear_probe(centroids[clusters], names, c=c, weights=weights[clusters, columns])

    def labels(
        self,
        features: npt.NDArray[np.floating],
        clusters: npt.NDArray[np.integer],
        centroids: npt.NDArray[np.floating],
    ) -> npt.NDArray[np.str_]:
        """The most probable label of each sample, strings [n]. Arguments and errors as ``probabilities``."""
        columns = self.probabilities(features, clusters, centroids).argmax(axis=1)
        return np.asarray(self.classes)[columns]

    def probabilities(
        self,
        features: npt.NDArray[np.floating],
        clusters: npt.NDArray[np.integer],
        centroids: npt.NDArray[np.floating],
    ) -> Doubles:
        """How probable each class is for samples of features [n, d] in clusters int [n], float64 [n, C].

        The product of the classifier's answer and the denoised shares of the sample's cluster, summing to 1;
        zero for a class that the noise leaves nothing of. Raises InputError as ``classifier`` does.
        """
        probe = self.classifier(centroids)
        known = np.flatnonzero(np.isin(self.classes, probe.classes))
        order = [probe.classes.index(self.classes[column]) for column in known]
        shares = np.log(self.estimated()[:, known] + HALF_A_RECORD)[clusters]
        answers = np.log(np.maximum(probe.predict_proba(features)[:, order], 1e-12))
        logits = answers + shares
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = np.zeros((len(weights), len(self.classes)))
        found[:, known] = weights / weights.sum(axis=1, keepdims=True)
        return found
