"""How good a model is: accuracy, per class, confusion, calibration, and the spread over seeds.

On a public test set these figures are free. On the client's own data they are private: there the client's
``evaluate`` operation answers, noised and charged to its ledger, never this module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecos_core.errors import InputError

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Figures on one test set of ``n`` samples.

    ``accuracy`` and ``macro_accuracy`` (mean over the classes present) in [0, 1]; ``per_class`` accuracy of
    each class that occurs in the test set; ``confusion[i][j]`` counts samples of class i answered as class
    j; ``ece`` is the expected calibration error over 15 equal bins (Naeini et al. 2015), None when only
    labels were predicted.
    """

    accuracy: float
    macro_accuracy: float
    per_class: dict[str, float]
    confusion: list[list[int]]
    classes: list[str]
    ece: float | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def concerns(trained: Sequence[str], tested: Sequence[str]) -> list[str]:
    """What the labels alone say against a training, in words: one class only, test classes that it never sees.

    ``trained`` and ``tested`` are the labels of the samples of both; ``tested`` is empty without a test set.
    """
    known = set(trained)
    found = []
    if len(known) == 1:
        found.append(
            f"all {len(trained):,} samples are of one class, '{next(iter(known))}': nothing can be learned from them; "
            "choose more samples, or have them labelled by another label set"
        )
    if unseen := Counter(label for label in tested if label not in known):
        names = ", ".join(f"'{name}'" for name in sorted(unseen)[:5]) + (", …" if len(unseen) > 5 else "")
        found.append(
            f"{len(unseen):,} of {len(set(tested)):,} test classes were never seen in training ({names}): "
            f"their {unseen.total():,} samples count as wrong"
        )
    return found


def evaluate(predicted: ArrayLike, labels: Sequence[str] | ArrayLike, classes: Sequence[str]) -> Evaluation:
    """Compare predictions with the truth.

    ``predicted`` is probabilities float [n, k] in the order of ``classes``, or predicted labels [n];
    ``labels`` are the true ones [n]. A true label that the model does not know counts as wrong (its row of
    the confusion matrix comes after the known classes). Raises InputError on no samples, shapes that do not
    fit, NaN, or rows that are no probabilities.
    """
    truth = np.asarray(labels).astype(str)
    answers = np.asarray(predicted)
    if len(truth) == 0 or len(truth) != len(answers):
        raise InputError(
            f"evaluation: {len(answers)} predictions for {len(truth)} labels; both must be the same and not 0"
        )
    confidence: NDArray[np.float64] | None = None
    if answers.ndim == 2:
        confidence = _check_probabilities(answers, len(classes))
        answers = np.asarray(classes)[answers.argmax(axis=1)]
    answers = answers.astype(str)
    names = [*map(str, classes), *sorted((set(truth) | set(answers)) - set(map(str, classes)))]
    position = {name: index for index, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, ([position[name] for name in truth], [position[name] for name in answers]), 1)
    right = answers == truth
    totals = confusion.sum(axis=1)
    per_class = {
        name: float(confusion[index, index] / totals[index])
        for index, name in enumerate(names)
        if totals[index]
    }
    return Evaluation(
        accuracy=float(right.mean()),
        macro_accuracy=float(np.mean(list(per_class.values()))),
        per_class=per_class,
        confusion=confusion.tolist(),
        classes=names,
        ece=None if confidence is None else calibration_error(confidence, right),
        n=len(truth),
    )


def calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error in [0, 1]: mean over samples of |accuracy - confidence| of their bin."""
    confidence = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(right, dtype=np.float64)
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _check_probabilities(probabilities: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """The top probability of each row."""
    if probabilities.shape[1] != classes:
        raise InputError(
            f"evaluation: {probabilities.shape[1]} columns of probabilities for {classes} classes"
        )
    if not np.isfinite(probabilities).all():
        raise InputError(
            "evaluation: probabilities hold NaN or infinity; the training diverged, lower its learning rate"
        )
    if (probabilities < 0).any() or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise InputError(
            "evaluation: rows are no probabilities (negative, or they do not sum to 1); apply a softmax"
        )
    return probabilities.max(axis=1).astype(np.float64)


@dataclass(frozen=True)
class Spread:
    """A figure over repetitions: ``std`` is the sample standard deviation (0 for one value), ``low`` and
    ``high`` the confidence interval of the mean (Student's t; equal to the mean for one value).
    """

    mean: float
    std: float
    low: float
    high: float
    n: int
    level: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} +- {self.std:.2g} (n={self.n})"


def spread(values: Sequence[float], level: float = 0.95) -> Spread:
    """Mean, standard deviation, confidence interval. Raises InputError on none or a non-finite value."""
    from scipy import stats

    if not values or not all(math.isfinite(value) for value in values):
        raise InputError(f"spread: finite values are needed, got {list(values)}")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Spread(mean, 0.0, mean, mean, 1, level)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * std / math.sqrt(len(values))
    return Spread(mean, std, mean - half, mean + half, len(values), level)
