"""The probe against scikit-learn's own pipeline, its ONNX export against itself, and bad input."""

import json

import numpy as np
import pytest
from safetensors.numpy import save
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecos_core.client.kernels.perceptron import predicted, read_perceptron
from ecos_core.errors import InputError
from ecos_core.training.linear_probe import LinearProbe, train_linear_probe


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    names = np.array([f"digit {label}" for label in labels])
    return features[:600].astype(np.float32), names[:600], features[600:].astype(np.float32), names[600:]


def test_agrees_with_scikit_learns_pipeline(digits):
    features, labels, test, truth = digits
    probe = train_linear_probe(features, labels, c=0.01, seed=1)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(features, labels)
    assert np.abs(probe.predict_proba(test) - peer.predict_proba(test)).max() < 1e-3
    assert (probe.predict(test) == truth).mean() > 0.88


def test_two_classes_agree_too(digits):
    features, labels, test, _ = digits
    two = np.where(np.isin(labels, ["digit 1", "digit 7"]), "a", "b")
    probe = train_linear_probe(features, two, c=0.1)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(features, two)
    assert np.abs(probe.predict_proba(test) - peer.predict_proba(test)).max() < 1e-3


def test_one_class_always_answers_it():
    probe = train_linear_probe(np.ones((3, 2)), ["only"] * 3)
    assert set(probe.predict(np.zeros((4, 2)))) == {"only"}


def test_arrays_round_trip(digits):
    features, labels, test, _ = digits
    probe = train_linear_probe(features, labels)
    again = LinearProbe.from_arrays(probe.to_arrays(), probe.classes)
    assert np.array_equal(again.predict_proba(test), probe.predict_proba(test))
    with pytest.raises(InputError, match="shapes"):
        LinearProbe.from_arrays(probe.to_arrays(), ["too", "few"])
    with pytest.raises(InputError, match="missing"):
        LinearProbe.from_arrays({"mean": probe.mean}, probe.classes)


def test_a_client_evaluates_the_same_probe(digits):
    features, labels, test, _ = digits
    probe = train_linear_probe(features, labels)
    found = predicted(test, read_perceptron(save(probe.to_layer())))
    assert np.mean(np.asarray(probe.classes)[found] == probe.predict(test)) > 0.999


def test_onnx_runs_elsewhere_with_the_same_answers(digits):
    runtime = pytest.importorskip("onnxruntime")
    features, labels, test, _ = digits
    probe = train_linear_probe(features, labels)
    session = runtime.InferenceSession(probe.to_onnx(fingerprint="abc"), providers=["CPUExecutionProvider"])
    (answer,) = session.run(["probabilities"], {"features": test})
    assert np.abs(answer - probe.predict_proba(test)).max() < 1e-5
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(probe.classes)
    assert metadata["fingerprint"] == "abc"


@pytest.mark.parametrize(
    ("features", "labels", "c", "message"),
    [
        (np.ones((0, 3)), [], 0.01, "n >= 1"),
        (np.ones(3), ["a"] * 3, 0.01, r"\[n, d\]"),
        (np.array([[1.0, np.nan]]), ["a"], 0.01, "NaN"),
        (np.ones((2, 3)), ["a"], 0.01, "one label a sample"),
        (np.ones((2, 3)), ["a", "b"], 0.0, "positive"),
    ],
)
def test_bad_input_is_refused(features, labels, c, message):
    with pytest.raises(InputError, match=message):
        train_linear_probe(features, labels, c=c)


def test_another_extractors_features_are_refused(digits):
    features, labels, _, _ = digits
    with pytest.raises(InputError, match="same extractor"):
        train_linear_probe(features, labels).predict(np.ones((2, 5)))
