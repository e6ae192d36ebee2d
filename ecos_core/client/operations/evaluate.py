"""How many private records a model gets right: noised counts of right and wrong answers, one vote a record.

A model is data, never code. Either a linear layer in safetensors, evaluated here in exact integers; or an
ONNX graph of pure arithmetic, run in a process of its own with limits on time and memory, **one record at a
time**: a graph that saw a batch could let one record change the answer for all others, and the sensitivity
would be gone. For the same reason operators that carry state (random numbers), control flow and anything but
the listed arithmetic are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ecos_core.client.operations import onnx_model
from ecos_core.client.operations.histogram import ABSTAIN, Integers, noised_histogram, privacy_event
from ecos_core.client.operations.labels import label_numbers
from ecos_core.client.operations.nearest import integer_scale, rounded
from ecos_core.client.operations.task import Context, Task, only_array
from ecos_core.client.protocol import Arrays, EvaluateParameters, Floats, Request, parse
from ecos_core.errors import InputError, MissingDependencyError, PolicyError

RIGHT, WRONG = 0, 1
FEATURE_LIMIT = 8.0  # of a feature's coordinate, for a linear model; larger ones are clipped
Predict = Callable[[Floats], Integers]
_RECORDS_AT_ONCE = 8192


def prepare(context: Context, header: dict[str, Any], arrays: Arrays) -> Task:
    """Hold a request against the policy. Raises InputError, PolicyError."""
    asked = parse(EvaluateParameters, header, "evaluate request")
    policy = context.policy
    content = only_array(arrays, "model", "|u1")
    policy.check_mechanism(asked.sigma, asked.adjacency)
    policy.check_fingerprint(asked.fingerprint)
    if content.ndim != 1 or content.nbytes > policy.largest_model_mb * 2**20:
        raise PolicyError(f"model: larger than this client takes ({policy.largest_model_mb:g} MB)")
    held = context.held[asked.fingerprint]
    labels = label_numbers(held, asked.classes)
    units = held.units if asked.adjacency == "unit" else None
    dimension, classes = held.features.shape[1], len(asked.classes)
    if asked.model_format == "safetensors":
        predict = linear_model(content.tobytes(), dimension, classes)
    else:
        records = policy.stated_records or policy.minimum_records
        predict = onnx_model.load(content.tobytes(), dimension, classes, policy.model_seconds, records)

    def answer() -> Arrays:
        def votes() -> Integers:
            cells = np.where(predict(held.features) == labels, RIGHT, WRONG)
            return np.where(labels == ABSTAIN, ABSTAIN, cells).astype(np.int64)

        return {"counts": noised_histogram(votes, 2, asked.sigma, units=units)}

    event = privacy_event(asked.sigma, asked.adjacency, 1.0)
    return Task(Request(asked, {"model": content}), [event], answer)


def linear_model(content: bytes, dimension: int, classes: int) -> Predict:
    """The linear layer in a safetensors file: ``weight`` [C, d] and ``bias`` [C], float32, finite.

    Raises InputError when it is anything else.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError as error:
        raise MissingDependencyError("safetensors", "client") from error
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError("model: not a safetensors file") from error
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or bias is None or weight.shape != (classes, dimension) or bias.shape != (classes,):
        raise InputError(f"model: 'weight' [{classes}, {dimension}] and 'bias' [{classes}] are needed")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise InputError("model: its numbers must be finite")
    scale, limit = integer_scale(weight.astype(np.float64))

    def predict(features: Floats) -> Integers:
        # Rounded like centroids: a record's answer must not depend on which others are computed beside it.
        whole = rounded(weight, scale, limit).T
        parts = [np.empty(0, np.int64)]
        steps = limit / FEATURE_LIMIT
        offset = np.rint(np.clip(bias.astype(np.float64) * scale * steps, -(2.0**51), 2.0**51))
        for start in range(0, len(features), _RECORDS_AT_ONCE):
            part = rounded(features[start : start + _RECORDS_AT_ONCE], steps, limit)
            parts.append(np.argmax(part @ whole + offset, axis=1))
        return np.concatenate(parts)

    return predict
