"""Figures against scikit-learn's, hand-computed calibration, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from ecos_core.errors import InputError
from ecos_core.training.evaluation import calibration_error, concerns, evaluate, spread

CLASSES = ["a", "b", "c"]


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=60))
def test_figures_agree_with_scikit_learn(pairs):
    truth, answers = map(list, zip(*pairs, strict=True))
    result = evaluate(answers, truth, CLASSES)
    assert result.accuracy == pytest.approx(np.mean(np.array(truth) == np.array(answers)))
    assert np.array_equal(result.confusion, confusion_matrix(truth, answers, labels=CLASSES))
    if set(answers) <= set(truth):
        assert result.macro_accuracy == pytest.approx(balanced_accuracy_score(truth, answers))
    assert result.n == sum(map(sum, result.confusion))


def test_probabilities_are_read_in_the_order_of_the_classes():
    result = evaluate([[0.1, 0.8, 0.1], [0.6, 0.2, 0.2]], ["b", "c"], CLASSES)
    assert result.accuracy == 0.5
    assert result.per_class == {"b": 1.0, "c": 0.0}
    # two samples, bins of their own: (|1 - 0.8| + |0 - 0.6|) / 2
    assert result.ece == pytest.approx(0.4)


def test_a_class_the_model_never_saw_counts_as_wrong():
    result = evaluate(["a", "a"], ["a", "zebra"], ["a"])
    assert result.accuracy == 0.5
    assert result.classes == ["a", "zebra"]
    assert result.confusion == [[1, 0], [1, 0]]


def test_a_perfectly_calibrated_bin_has_no_error():
    assert calibration_error([0.75] * 4, [1, 1, 1, 0]) == pytest.approx(0)
    assert calibration_error([1.0] * 4, [0, 0, 0, 0]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([[np.nan, 0, 1]], ["a"], "NaN"),
        ([[2.0, -1.0, 0.0]], ["a"], "no probabilities"),
        ([[1.0, 0.0]], ["a"], "columns"),
        ([], [], "not 0"),
        (["a"], ["a", "b"], "same"),
    ],
)
def test_bad_predictions_are_refused(predicted, labels, message):
    with pytest.raises(InputError, match=message):
        evaluate(predicted, labels, CLASSES)


def test_spread_is_students_interval():
    result = spread([1.0, 2.0, 3.0])
    assert (result.mean, result.std) == (2.0, 1.0)
    # t(0.975, 2 degrees) = 4.30265 from any table
    assert result.high - result.mean == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)
    assert spread([0.5]).low == spread([0.5]).high == 0.5
    with pytest.raises(InputError, match="finite"):
        spread([1.0, float("nan")])


def test_labels_that_speak_against_a_training():
    assert concerns(["cat", "dog"], ["dog", "cat"]) == [] == concerns(["cat", "dog"], [])
    one, unseen = concerns(["cat"] * 6, ["cat", "dog", "dog", "emu"])
    assert one.startswith("all 6 samples are of one class, 'cat'")
    assert "2 of 3 test classes were never seen in training ('dog', 'emu'): their 3 samples" in unseen
