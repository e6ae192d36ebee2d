"""Linear probe: multinomial logistic regression on standardised, frozen features.

The cheapest of the three uses and the yardstick of all tables: a second on one core for a thousand samples.
Strong regularisation (C = 0.01) is right for a few samples of a wide feature (1,280 numbers); the fit is
convex, so the seed never changes the result by more than the solver's tolerance.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecos_core.errors import InputError


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe. Class k's logit for a feature x is ``((x - mean) / scale) @ weight[:, k] + bias[k]``.

    ``classes`` are the labels in the order of the columns; ``mean`` and ``scale`` are float32 [d],
    ``weight`` float32 [d, k], ``bias`` float32 [k].
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def dimension(self) -> int:
        return int(self.weight.shape[0])

    def predict_proba(self, features: ArrayLike) -> NDArray[np.float32]:
        """Probabilities float32 [n, k] of features [n, d]. Raises InputError when d differs or a value is
        not finite.
        """
        checked = check_features(features, dimension=self.dimension)
        logits = ((checked - self.mean) / self.scale) @ self.weight + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)

    def predict(self, features: ArrayLike) -> NDArray[np.str_]:
        """The most probable class of each row, strings [n]."""
        return np.asarray(self.classes)[self.predict_proba(features).argmax(axis=1)]

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Named tensors for safetensors; ``classes`` go in its metadata."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    def to_layer(self) -> dict[str, NDArray[np.float32]]:
        """One linear layer, ``weight`` [k, d] and ``bias`` [k], with the standardisation in it: what a client
        evaluates."""
        weight = (self.weight.astype(np.float64) / self.scale.astype(np.float64)[:, None]).T
        bias = self.bias - weight @ self.mean.astype(np.float64)
        return {"weight": np.ascontiguousarray(weight, np.float32), "bias": bias.astype(np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], classes: Sequence[str]) -> LinearProbe:
        """The inverse of ``to_arrays``. Raises InputError when a tensor is missing or the shapes do not
        fit.
        """
        missing = [name for name in ("mean", "scale", "weight", "bias") if name not in arrays]
        if missing:
            raise InputError(
                f"linear probe: tensor(s) {missing} are missing; the model file is not a linear probe"
            )
        mean, scale, weight, bias = (
            np.asarray(arrays[name], dtype=np.float32) for name in ("mean", "scale", "weight", "bias")
        )
        dimension = mean.shape[0]
        if (
            scale.shape != (dimension,)
            or weight.shape != (dimension, len(classes))
            or bias.shape != (len(classes),)
        ):
            raise InputError(
                f"linear probe: shapes do not fit {len(classes)} classes and {dimension} dimensions"
            )
        return cls(tuple(classes), mean, scale, weight, bias)

    def to_onnx(self, *, fingerprint: str | None = None) -> bytes:
        """An ONNX model: ``features`` float32 [n, d] -> ``probabilities`` float32 [n, k].

        Metadata properties: ``classes`` (JSON list), ``input`` (``features``), ``fingerprint`` (of the
        extractor that the probe was fitted on, when given).
        """
        from ecos_core.training.export import linear_probe_to_onnx

        return linear_probe_to_onnx(self, fingerprint=fingerprint)


def train_linear_probe(
    features: ArrayLike,
    labels: Sequence[str] | ArrayLike,
    *,
    c: float = 0.01,
    seed: int = 0,
    max_iterations: int = 1000,
    weights: ArrayLike | None = None,
) -> LinearProbe:
    """Fit multinomial logistic regression (L2 penalty, ``c`` = inverse strength) on standardised
    features.

    ``features`` float [n, d], ``labels`` [n] (turned into strings), ``weights`` [n] of the samples in the
    loss (default: 1 each). A constant column is left at scale 1. With one class only, the probe always
    answers it. Raises InputError on empty or non-finite input, lengths that differ, or a c that is not
    positive.
    """
    from sklearn.linear_model import LogisticRegression

    checked = check_features(features)
    names = np.asarray(labels).astype(str)
    if len(names) != len(checked):
        raise InputError(
            f"linear probe: {len(checked)} features but {len(names)} labels; give one label a sample"
        )
    if not c > 0:
        raise InputError(f"linear probe: C must be positive, not {c}")
    mean = checked.mean(axis=0, dtype=np.float64)
    scale = checked.std(axis=0, dtype=np.float64)
    scale[scale < 1e-8] = 1.0
    classes = np.unique(names)
    if len(classes) == 1:
        weight, bias = np.zeros((checked.shape[1], 1)), np.zeros(1)
    else:
        model = LogisticRegression(C=c, max_iter=max_iterations, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.fit(((checked - mean) / scale).astype(np.float32), names, sample_weight=weights)
        weight, bias = model.coef_.T, model.intercept_
        if len(classes) == 2:  # scikit-learn keeps one logit for two classes: its softmax form is (-z/2, z/2)
            weight, bias = np.hstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
    return LinearProbe(
        tuple(str(name) for name in classes),
        mean.astype(np.float32),
        scale.astype(np.float32),
        np.ascontiguousarray(weight, dtype=np.float32),
        np.asarray(bias, dtype=np.float32),
    )


def check_features(features: ArrayLike, *, dimension: int | None = None) -> NDArray[np.float32]:
    """Float32 [n, d] with n >= 1 and finite values. Raises InputError otherwise."""
    checked = np.asarray(features, dtype=np.float32)
    if checked.ndim != 2 or len(checked) == 0:
        raise InputError(f"features: shape {checked.shape}, [n, d] with n >= 1 is needed")
    if dimension is not None and checked.shape[1] != dimension:
        raise InputError(
            f"features: {checked.shape[1]} dimensions, the model has {dimension}; use the same extractor"
        )
    bad = ~np.isfinite(checked).all(axis=1)
    if bad.any():
        raise InputError(
            f"features: {int(bad.sum())} of {len(checked)} rows hold NaN or infinity; re-run the extraction"
        )
    return checked
