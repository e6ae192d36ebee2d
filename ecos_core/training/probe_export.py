"""A linear probe as ONNX, so that others (the client's ``evaluate`` among them) run it without scikit-learn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from ecos_core.errors import MissingDependencyError

if TYPE_CHECKING:
    from ecos_core.training.linear_probe import LinearProbe

OPSET = 17
IR_VERSION = 8


def linear_probe_to_onnx(probe: LinearProbe, *, fingerprint: str | None = None) -> bytes:
    """Serialise a probe: standardise, multiply, add, softmax. Shapes and metadata as
    ``LinearProbe.to_onnx`` says.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise MissingDependencyError("onnx", "cloud") from error
    constants = {
        "mean": probe.mean,
        "inverse_scale": (1.0 / probe.scale).astype(np.float32),
        "weight": probe.weight,
        "bias": probe.bias,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["features", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "inverse_scale"], ["standardised"]),
            helper.make_node("Gemm", ["standardised", "weight", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "linear_probe",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", probe.dimension])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(probe.classes)])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="ecos",
        ir_version=IR_VERSION,
    )
    metadata = {"classes": json.dumps(list(probe.classes)), "input": "features"}
    if fingerprint is not None:
        metadata["fingerprint"] = fingerprint
    helper.set_model_props(model, metadata)
    checker.check_model(model)
    return bytes(model.SerializeToString())
