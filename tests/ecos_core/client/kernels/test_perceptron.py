"""A model is numbers: computed exactly, for each record alone; what is anything else is refused."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from ecos_core.client.kernels.perceptron import predicted, read_perceptron
from ecos_core.errors import InputError

DIMENSION, CLASSES = 24, 3
SEEDS = st.integers(0, 2**32 - 1)


def some_model(*widths: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng, tensors = np.random.default_rng(seed), {}
    for number, (before, after) in enumerate(pairwise(widths)):
        prefix = "" if len(widths) == 2 else f"{2 * number}."
        tensors[f"{prefix}weight"] = rng.normal(size=(after, before)).astype(np.float32)
        tensors[f"{prefix}bias"] = rng.normal(size=after).astype(np.float32)
    return tensors


def reference(features: np.ndarray, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Scores in float64, as torch's Sequential of Linear and ReLU has them."""
    prefixes = sorted({name.rpartition(".")[0] for name in tensors})
    values = features.astype(np.float64)
    for number, prefix in enumerate(prefixes):
        dot = f"{prefix}." if prefix else ""
        values = values @ tensors[f"{dot}weight"].T.astype(np.float64) + tensors[f"{dot}bias"]
        values = np.maximum(values, 0.0) if number + 1 < len(prefixes) else values
    return values


@pytest.mark.parametrize("widths", [(24, 3), (24, 16, 3), (24, 64, 32, 3), (24, 8, 8, 8, 3)], ids=str)
def test_it_answers_as_floating_point_does_where_scores_differ(widths: tuple[int, ...]) -> None:
    features = np.random.default_rng(1).normal(size=(4000, DIMENSION)).astype(np.float32)
    tensors = some_model(*widths)
    scores = np.sort(reference(features, tensors), axis=1)
    found = predicted(features, read_perceptron(save(tensors)))
    clear = scores[:, -1] - scores[:, -2] > 2e-3 * np.abs(scores).max()
    same = found == reference(features, tensors).argmax(axis=1)
    assert same[clear].all() and clear.mean() > 0.9 and same.mean() > 0.999


@given(SEEDS, st.integers(1, 40), st.integers(1, 4), st.floats(-6, 6))
def test_an_answer_is_that_of_the_record_alone(seed: int, rows: int, layers: int, magnitude: float) -> None:
    rng = np.random.default_rng(seed)
    widths = [DIMENSION, *rng.integers(1, 40, layers - 1).tolist(), CLASSES]
    model = read_perceptron(save(some_model(*widths, seed=seed)))
    features = (rng.normal(size=(rows, DIMENSION)) * 10.0**magnitude).astype(np.float32)
    whole = predicted(features, model)
    alone = [int(predicted(features[[row]], model)[0]) for row in range(rows)]
    assert whole.tolist() == alone


def test_every_sum_is_exact_in_any_order() -> None:
    """The largest weights and features that there can be: whole numbers below 2^53 throughout."""
    width = 4096
    tensors = {
        "0.weight": np.full((8, width), 1e9, np.float32),
        "0.bias": np.full(8, 1e9, np.float32),
        "2.weight": np.full((CLASSES, 8), -1e9, np.float32),
        "2.bias": np.full(CLASSES, 1e9, np.float32),
    }
    model = read_perceptron(save(tensors))
    reach = 2.0**53
    largest = 64.0 * model.steps
    for layer in model.layers:
        assert np.array_equal(layer.weight, np.rint(layer.weight)) and np.array_equal(
            layer.bias, np.rint(layer.bias)
        )
        sums = largest * np.abs(layer.weight).sum(axis=0) + np.abs(layer.bias)
        assert sums.max() <= reach
        largest = np.floor(sums.max() / layer.cut)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted(np.full((3, width), 3e38, np.float32), model)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"weight": np.zeros((3, 4), np.float32)}, "a 'weight' and a 'bias'"),
        ({"weight": np.zeros((3, 4), np.float32), "bias": np.zeros(2, np.float32)}, "bias"),
        ({"weight": np.full((3, 4), np.nan, np.float32), "bias": np.zeros(3, np.float32)}, "finite"),
        ({"weight": np.full((3, 4), 1e-40, np.float32), "bias": np.zeros(3, np.float32)}, "largest number"),
        ({"weight": np.full((3, 4), 1e30, np.float32), "bias": np.zeros(3, np.float32)}, "largest number"),
        ({"weight": np.zeros((3, 4), np.float32), "bias": np.full(3, np.inf, np.float32)}, "finite"),
        ({"weight": np.zeros((3, 4), np.int32), "bias": np.zeros(3, np.int32)}, "linear layer"),
        ({"weight": np.zeros((3, 4), np.float32), "x": np.zeros(3, np.float32)}, "nothing else"),
        ({"weight": np.zeros((3, 0), np.float32), "bias": np.zeros(3, np.float32)}, "out, in"),
        ({"weight": np.zeros((3, 5000), np.float32), "bias": np.zeros(3, np.float32)}, "4096"),
        (some_model(4, 5, 3) | {"2.weight": np.zeros((3, 6), np.float32)}, "what the one before gives"),
        (some_model(4, 3, 3, 3, 3, 3), "one to 4 layers"),
        ({}, "one to 4 layers"),
    ],
)
def test_what_is_no_perceptron_is_refused(tensors: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_perceptron(save(tensors))


def test_junk_is_no_safetensors_file() -> None:
    for junk in (b"", b"x" * 100, (2**60).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"{}"):
        with pytest.raises(InputError, match="model:"):
            read_perceptron(junk)
