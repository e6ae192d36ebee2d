"""Run a stranger's ONNX graph on private features without giving it any way to remember, to branch or to call
out.

The graph is checked operator by operator, tried on a made-up record before anything is spent (so that whether
it works and how long it takes depends on the request only), then run in a process of its own with limits on
memory and time.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecos_core.client.operations import onnx_process
from ecos_core.client.operations.onnx_process import FAILED
from ecos_core.errors import InputError, MissingDependencyError, PolicyError

PROCESS = Path(onnx_process.__file__)
MEMORY_BYTES = 4 * 2**30
TRIAL_RECORDS = 200
PATIENCE = 10  # the real run may take this many times the limit that the trial was held to
NODES_LIMIT = 1000
# Pure functions of their inputs: no control flow, no random numbers, no sequences, no custom domain.
_ARITHMETIC = """
    Abs Add ArgMax BatchNormalization Cast Clip Concat Constant Div Elu Erf Exp Flatten Gelu Gemm HardSigmoid
    HardSwish Identity LayerNormalization LeakyRelu Log LogSoftmax MatMul Max Min Mul Neg Pow ReduceMean Relu
    Reshape Selu Sigmoid Softmax Softplus Sqrt Squeeze Sub Tanh Transpose Unsqueeze
"""
ALLOWED = frozenset(_ARITHMETIC.split())

Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]


def load(content: bytes, dimension: int, classes: int, seconds: int, records: int) -> Predict:
    """Check and try a graph: features float32 [1, d] to scores [1, C].

    Raises InputError when it is no such graph, PolicyError when ``records`` of it would take longer than
    ``seconds``.
    """
    check_graph(content)
    trial = np.zeros((min(records, TRIAL_RECORDS), dimension), np.float32)
    found, took = _run(content, trial, classes, seconds)
    if found is None or (found < 0).any():
        raise InputError("model: does not give finite scores [1, C] for features [1, d] within the limits")
    if took * records / len(trial) > seconds:
        raise PolicyError(f"model: too slow for this client's limit of {seconds} s; send a smaller one")

    def predict(features: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        # The trial ran, so failing now is the machine's doing: all answers count as wrong, and no one is
        # told.
        answers, _ = _run(content, features, classes, PATIENCE * seconds)
        return np.full(len(features), FAILED, np.int64) if answers is None else answers

    return predict


def check_graph(content: bytes) -> None:
    """Raises InputError unless the graph is one input, one output and allowed operators only."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "client") from error
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise InputError("model: not an ONNX file") from error
    graph = model.graph
    if model.functions or len(graph.node) > NODES_LIMIT or not graph.node:
        raise InputError(f"model: a plain graph of 1 to {NODES_LIMIT} operators is needed")
    inputs = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    if len(inputs) != 1 or len(graph.output) != 1:
        raise InputError("model: exactly one input and one output are needed")
    refused = sorted(
        {
            node.op_type
            for node in graph.node
            if node.op_type not in ALLOWED or node.domain not in ("", "ai.onnx")
        }
    )
    if refused:
        named = ", ".join(name for name in refused if name.isalnum())[:200]
        raise InputError(f"model: operator(s) not allowed here: {named}; arithmetic only")
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    if any(attribute.type in graphs for node in graph.node for attribute in node.attribute):
        raise InputError("model: no graph inside a graph is allowed")
    if any(tensor.external_data or tensor.data_location for tensor in graph.initializer):
        raise InputError("model: its numbers must be inside the file")


def _run(
    content: bytes, features: npt.NDArray[np.float32], classes: int, seconds: int
) -> tuple[npt.NDArray[np.int64] | None, float]:
    """The predictions, or None when the process failed or ran out of its limits, and the seconds they
    took.
    """
    table = io.BytesIO()
    np.save(table, features)
    given = len(content).to_bytes(8, "little") + content + table.getvalue()
    command = [sys.executable, "-I", str(PROCESS), str(classes), str(seconds), str(MEMORY_BYTES)]
    try:
        done = subprocess.run(
            command, env={}, input=given, capture_output=True, timeout=seconds + 30, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return None, 0.0
    if done.returncode != 0 or len(done.stdout) != 8 * (1 + len(features)):
        return None, 0.0
    return np.frombuffer(done.stdout, np.int64, offset=8), float(
        np.frombuffer(done.stdout, np.float64, count=1)[0]
    )
