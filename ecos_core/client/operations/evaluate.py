"""How many private records a model gets right: noised counts of right and wrong answers, one vote a record.

A model is numbers, never code: a linear layer or a small multilayer perceptron in safetensors, computed by the client
itself.

Domain: models of at most ``perceptron.LAYERS_LIMIT`` layers with finite weights within its magnitudes. Neighbours as
for ``score``. Bound: a record contributes 1 to the right answers or 1 to the wrong ones, or nothing where it has none
of the classes: L2 1 (sqrt 2 under replace); one file less, as for ``label_histogram``. The model's answer for a record
is exact integer arithmetic on that record alone (``kernels.perceptron``), of the same cost for every record. Assumes
nothing about model or data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ecos_core.client.kernels.perceptron import read_perceptron
from ecos_core.client.operations.operation import ABSTAIN, Operation, Record, Sum, different
from ecos_core.client.protocol import Arrays, Classes, Parameters, Sigma
from ecos_core.errors import InputError

RIGHT, WRONG = 0, 1


class EvaluateParameters(Parameters):
    """The header of a request to count how many private records a model gets right.

    ``classes``: what the model's outputs stand for; ``model_format``: as ``kernels.perceptron`` reads it.
    """

    operation: Literal["evaluate"] = "evaluate"
    sigma: Sigma
    model_format: Literal["safetensors"]
    classes: Classes


def ask(asked: EvaluateParameters, arrays: Arrays) -> Sum:
    """Counts int64 [2], of right and wrong answers. Raises InputError for what is no such model."""
    model = read_perceptron(arrays["model"].tobytes())
    if model.classes != len(asked.classes):
        raise InputError(f"model: gives {model.classes} scores for {len(asked.classes)} classes")
    return Sum(vote, (2,), asked.sigma, classes=different(asked.classes), model=model)


def vote(record: Record) -> Mapping[int, int]:
    """One vote, for a right answer or a wrong one."""
    if record.label == ABSTAIN:
        return {}
    return {RIGHT if record.predicted == record.label else WRONG: 1}


OPERATION = Operation(
    "Noised counts of private records that a model gets right and wrong.",
    EvaluateParameters,
    {"model": "model"},
    ask,
)
