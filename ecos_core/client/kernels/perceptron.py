"""A small multilayer perceptron's answer for each record, in exact whole numbers: a function of that record alone.

A floating-point product may give other low bits for the same row among other rows, so every layer is whole numbers
small enough that all partial sums are exact in float64 in any order. With n numbers going in, 51 - log2(n) bits are
shared between them and the weights (40 at 1,280); a layer's scale is a power of two, chosen from the largest
weight. Between layers, after ReLU, the numbers are cut by a power of two such that the largest value that the weights
allow fits: a rule from the model alone. The answers are those of the model in floating point but where two scores are
within about 1e-4 of each other.

The model comes as safetensors: ``weight`` [C, d] and ``bias`` [C], or torch's names of a ``Sequential`` of linear
layers with ReLU between them, ``0.weight``, ``0.bias``, ``2.weight``, …
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecos_core.client.protocol import check_magnitude
from ecos_core.errors import InputError, MissingDependencyError

LAYERS_LIMIT = 4
WIDTH_LIMIT = 4096
MAGNITUDES = (1e-9, 1e9)  # of a layer's largest weight, and of its largest bias
FEATURE_LIMIT = 64.0  # of a feature's coordinate; larger ones are clipped
_FEATURE_BITS = 3  # that features get more than the first layer's weights, for their larger range
_SUM_BITS = 51
_RECORDS_AT_ONCE = 8192
_NAME = re.compile(r"(?:(\d{1,3})\.)?(weight|bias)")

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layer:
    """Whole numbers: ``weight`` float64 [in, out] and ``bias`` float64 [out]; ``cut``: what to divide by behind it."""

    weight: Doubles
    bias: Doubles
    cut: float


@dataclass(frozen=True, eq=False)
class Perceptron:
    """``dimension`` numbers to ``classes`` scores; ``steps``: whole numbers for 1.0 of a feature."""

    layers: tuple[Layer, ...]
    steps: float

    @property
    def dimension(self) -> int:
        """Numbers of a feature that it takes."""
        return self.layers[0].weight.shape[0]

    @property
    def classes(self) -> int:
        """Classes that it tells apart."""
        return self.layers[-1].weight.shape[1]

    @property
    def multiplications(self) -> int:
        """For one record."""
        return sum(layer.weight.size for layer in self.layers)


def predicted(features: npt.NDArray[np.floating], model: Perceptron) -> npt.NDArray[np.int64]:
    """The class of each row of ``features`` [n, d], int64 [n]: the largest score, the lowest of equals. Private."""
    found = [np.empty(0, np.int64)]
    for start in range(0, len(features), _RECORDS_AT_ONCE):
        chunk = features[start : start + _RECORDS_AT_ONCE].astype(np.float64)
        whole = np.rint(np.clip(chunk, -FEATURE_LIMIT, FEATURE_LIMIT) * model.steps)
        for layer in model.layers[:-1]:
            whole = np.floor(np.maximum(whole @ layer.weight + layer.bias, 0.0) / layer.cut)
        last = model.layers[-1]
        found.append(np.argmax(whole @ last.weight + last.bias, axis=1))
    return np.concatenate(found)


def read_perceptron(content: bytes) -> Perceptron:
    """The model in a safetensors file. Raises InputError when it is anything else."""
    tables = _layers(_tensors(content))
    bits = [(_SUM_BITS - math.ceil(math.log2(weight.shape[1]))) for weight, _ in tables]
    inputs = [each // 2 + (_FEATURE_BITS if not number else 0) for number, each in enumerate(bits)]
    steps = 2.0 ** inputs[0] / FEATURE_LIMIT
    scale, layers = steps, []
    for number, (weight, bias) in enumerate(tables):
        largest = float(np.abs(weight).max())
        finer = 2.0 ** (bits[number] - inputs[number] - math.frexp(largest)[1])
        whole = np.rint(weight * finer)
        offset = np.rint(np.clip(bias * (finer * scale), -(2.0**_SUM_BITS), 2.0**_SUM_BITS))
        scale *= finer
        cut = 1.0
        if number + 1 < len(tables):
            reach = float((np.abs(whole).sum(axis=1) * 2.0 ** inputs[number] + np.abs(offset)).max())
            cut = 2.0 ** max(0, math.frexp(reach)[1] - inputs[number + 1])
            scale /= cut
        layers.append(Layer(whole.T.copy(), offset, cut))
    return Perceptron(tuple(layers), steps)


def _tensors(content: bytes) -> dict[str, npt.NDArray[np.floating]]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError as error:
        raise MissingDependencyError("safetensors", "client") from error
    try:
        return dict(sorted(load(content).items()))  # the library's order differs from run to run
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise InputError("model: not a safetensors file of numpy's types") from error


def _layers(tensors: dict[str, npt.NDArray[np.floating]]) -> list[tuple[Doubles, Doubles]]:
    """(weight [out, in], bias [out]) of each layer, in order."""
    found: dict[int, dict[str, Doubles]] = {}
    for name, table in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None or table.dtype.kind != "f":
            raise InputError(
                "model: 'weight' and 'bias' of each linear layer are needed ('0.weight', …), and nothing else"
            )
        values = table.astype(np.float64)
        check_magnitude(values, "model", MAGNITUDES[0] if match[2] == "weight" else 0.0, MAGNITUDES[1])
        found.setdefault(int(match[1] or 0), {})[match[2]] = values
    layers = [(part["weight"], part["bias"]) for _, part in sorted(found.items()) if len(part) == 2]
    if not 1 <= len(layers) <= LAYERS_LIMIT or 2 * len(layers) != len(tensors):
        raise InputError(
            f"model: one to {LAYERS_LIMIT} layers, each with a 'weight' and a 'bias', are needed"
        )
    width = None
    for weight, bias in layers:
        if weight.ndim != 2 or 0 in weight.shape or bias.shape != weight.shape[:1]:
            raise InputError("model: a layer's 'weight' must be [out, in] and its 'bias' [out]")
        if weight.shape[1] > WIDTH_LIMIT or width not in (None, weight.shape[1]):
            raise InputError(
                f"model: a layer must take what the one before gives, at most {WIDTH_LIMIT} numbers"
            )
        width = weight.shape[0]
    return layers
