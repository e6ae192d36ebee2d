"""Kappas against published worked examples, label errors against planted ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from ecos_core.errors import InputError
from ecos_core.labelling import agreement, fleiss_kappa, suspected_errors

# Ten subjects rated by fourteen people into five categories: the worked example of the Wikipedia article
# "Fleiss' kappa", which gives 0.210.
FLEISS_EXAMPLE = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_fleiss_kappa_of_the_worked_example() -> None:
    assert fleiss_kappa(np.array(FLEISS_EXAMPLE)) == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_of_the_worked_example() -> None:
    """Fifty proposals, two readers: 20 yes-yes, 15 no-no, 5 and 10 split; kappa 0.4 (Wikipedia, "Cohen's
    kappa")."""
    said = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    found = agreement({f"{row}": {"a": one, "b": two} for row, (one, two) in enumerate(said)})
    assert found.samples == 50
    assert found.pairs[0].kappa == pytest.approx(0.4)
    assert found.pairs[0].same == pytest.approx(0.7)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=30))
def test_full_agreement_is_one_unless_there_is_one_label_only(labels: list[int]) -> None:
    counts = np.zeros((len(labels), 3), dtype=int)
    counts[np.arange(len(labels)), labels] = 4
    kappa = fleiss_kappa(counts)
    assert kappa == (None if len(set(labels)) == 1 else pytest.approx(1.0))


def test_samples_seen_by_one_person_do_not_count() -> None:
    found = agreement({"1": {"a": "x"}, "2": {"b": "y"}})
    assert (found.samples, found.fleiss_kappa, found.pairs) == (0, None, ())
    with pytest.raises(InputError, match="two votes"):
        fleiss_kappa(np.array([[1, 0]]))


def test_pairs_that_always_say_the_same_have_no_kappa() -> None:
    found = agreement({"1": {"a": "x", "b": "x"}, "2": {"a": "x", "b": "x"}})
    assert found.pairs[0].kappa is None
    assert found.pairs[0].same == 1.0


def test_planted_label_errors_are_found() -> None:
    digits = load_digits()
    rows = np.flatnonzero(np.isin(digits.target, (0, 1, 2)))
    ids = [f"{row:064x}" for row in rows]
    labels = [str(target) for target in digits.target[rows]]
    planted = set(range(5, len(rows), 36))
    for row in planted:
        labels[row] = str((int(labels[row]) + 1) % 3)
    suspects = suspected_errors(ids, labels, digits.data[rows])
    found = {suspect.sample_id for suspect in suspects}
    hits = found & {ids[row] for row in planted}
    assert len(planted) == 15
    assert len(hits) >= 13
    assert len(found - hits) <= 3
    worst = suspects[0]
    assert worst.given != worst.suggested
    assert 0 <= worst.quality < 0.5


def test_too_few_labels_to_check_is_said() -> None:
    with pytest.raises(InputError, match="at least two labels"):
        suspected_errors(["a", "b"], ["x", "y"], np.zeros((2, 3)))
