"""How far annotators agree, beyond chance, and which labels a model finds hard to believe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError


@dataclass(frozen=True)
class PairAgreement:
    """Cohen's kappa of two annotators over the ``samples`` that both labelled; None where chance alone
    explains all."""

    first: str
    second: str
    samples: int
    same: float
    kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """``samples`` with at least two votes, Fleiss' kappa over them (None: undefined), and every pair's."""

    samples: int
    fleiss_kappa: float | None
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True)
class Suspect:
    """A label that a model, trained on the others, disbelieves: ``quality`` in [0, 1], low is suspicious."""

    sample_id: str
    given: str
    suggested: str
    quality: float


def agreement(votes: Mapping[str, Mapping[str, str]]) -> Agreement:
    """``votes``: sample_id -> annotator -> label."""
    shared = {sample_id: cast for sample_id, cast in votes.items() if len(cast) > 1}
    labels = sorted({label for cast in shared.values() for label in cast.values()})
    place = {label: column for column, label in enumerate(labels)}
    counts = np.zeros((len(shared), len(labels)), dtype=np.int64)
    by_pair: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for row, cast in enumerate(shared.values()):
        for label in cast.values():
            counts[row, place[label]] += 1
        for first, second in combinations(sorted(cast), 2):
            said = by_pair.setdefault((first, second), ([], []))
            said[0].append(cast[first])
            said[1].append(cast[second])
    pairs = tuple(_pair(*names, *said) for names, said in sorted(by_pair.items()))
    return Agreement(len(shared), fleiss_kappa(counts), pairs)


def _pair(first: str, second: str, one: Sequence[str], other: Sequence[str]) -> PairAgreement:
    from sklearn.metrics import cohen_kappa_score

    same = float(np.mean([a == b for a, b in zip(one, other, strict=True)]))
    labels = sorted({*one, *other})
    kappa = float(cohen_kappa_score(one, other, labels=labels)) if len(labels) > 1 else None
    return PairAgreement(first, second, len(one), same, kappa)


def fleiss_kappa(counts: NDArray[np.integer]) -> float | None:
    """Fleiss' kappa of [n samples, c labels] vote counts; None when it is undefined (no samples, or one label
    only).

    Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971), eq. 1-8.
    Samples may have different numbers of votes, at least two each: every sample's agreement counts alike, and
    a label's chance is its share of all votes, which is Fleiss' own formula where the numbers are equal.
    """
    votes = np.asarray(counts, dtype=np.float64)
    raters = votes.sum(axis=1)
    if (raters < 2).any():
        raise InputError("agreement: every sample needs at least two votes")
    if votes.size == 0:
        return None
    observed = ((votes**2).sum(axis=1) - raters) / (raters * (raters - 1))
    chance = float(((votes.sum(axis=0) / votes.sum()) ** 2).sum())
    return None if np.isclose(chance, 1.0) else (float(observed.mean()) - chance) / (1 - chance)


def suspected_errors(
    sample_ids: Sequence[str],
    labels: Sequence[str],
    features: NDArray[np.floating],
    *,
    folds: int = 5,
    seed: int = 0,
) -> list[Suspect]:
    """Labels that confident learning finds wrong, the most suspicious first.

    Out-of-fold probabilities of a logistic regression on the features, then cleanlab (Northcutt, Jiang,
    Chuang, "Confident Learning", JAIR 2021). Labels with fewer than ``folds`` samples are left out.

    Args:
        sample_ids, labels: [n].
        features: [n, d], finite.

    Raises InputError when fewer than two labels have enough samples.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    names, encoded, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    enough = np.flatnonzero(counts >= folds)
    if len(enough) < 2:
        raise InputError(f"label check: at least two labels with {folds} samples each are needed")
    rows = np.flatnonzero(np.isin(encoded, enough))
    given = np.searchsorted(enough, encoded[rows])
    probabilities = _out_of_fold(np.asarray(features)[rows], given, folds, seed)
    issues: Any = find_label_issues(
        given, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    quality = get_label_quality_scores(given, probabilities)
    best = probabilities.argmax(axis=1)
    return [
        Suspect(
            sample_ids[rows[at]],
            str(names[enough[given[at]]]),
            str(names[enough[best[at]]]),
            float(quality[at]),
        )
        for at in issues
        if best[at] != given[at]
    ]


def _out_of_fold(
    features: NDArray[Any], given: NDArray[np.intp], folds: int, seed: int
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, features, given, cv=split, method="predict_proba"))
