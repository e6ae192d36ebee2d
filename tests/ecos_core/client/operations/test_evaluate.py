"""A model is data: what could remember, branch, call out or see other records is refused or harmless."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from ecos_core.client.operations import onnx_model
from ecos_core.client.operations.evaluate import linear_model
from ecos_core.errors import InputError, PolicyError

DIMENSION, CLASSES = 4, 3


def graph(*nodes: onnx.NodeProto, constants: dict[str, np.ndarray] | None = None, inputs: int = 1) -> bytes:
    names = ["features", "more"][:inputs]
    made = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", DIMENSION]) for name in names],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


WEIGHT = np.random.default_rng(0).normal(size=(DIMENSION, CLASSES)).astype(np.float32)
MATMUL = helper.make_node("MatMul", ["features", "weight"], ["scores"])
FEATURES = np.random.default_rng(1).normal(size=(50, DIMENSION)).astype(np.float32)


def test_a_linear_graph_predicts_as_numpy_does() -> None:
    predict = onnx_model.load(graph(MATMUL, constants={"weight": WEIGHT}), DIMENSION, CLASSES, 20, 50)
    assert np.array_equal(predict(FEATURES), (FEATURES @ WEIGHT).argmax(axis=1))


def test_a_graph_that_looks_at_the_batch_sees_one_record_only() -> None:
    """The batch's mean would let one record move all others' answers; alone, a record is its own mean."""
    centred = [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Add", ["features", "mean"], ["shifted"]),
        helper.make_node("MatMul", ["shifted", "weight"], ["scores"]),
    ]
    predict = onnx_model.load(graph(*centred, constants={"weight": WEIGHT}), DIMENSION, CLASSES, 20, 50)
    whole = predict(FEATURES)
    assert np.array_equal(whole[1:], predict(FEATURES[1:]))


def test_a_record_that_breaks_the_graph_is_wrong_alone() -> None:
    """A shape made from the record itself: an error for one record must not spoil the others'."""
    nodes = [
        helper.make_node("Cast", ["features"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["mean"], ["size"], to=TensorProto.INT64),
        helper.make_node("Add", ["size", "one"], ["shape_end"]),
        helper.make_node("Concat", ["one", "shape_end"], ["shape"], axis=0),
        helper.make_node("MatMul", ["features", "weight"], ["sums"]),
        helper.make_node("Reshape", ["sums", "shape"], ["scores"]),
    ]
    weight = np.ones((DIMENSION, 1), np.float32)
    content = graph(*nodes, constants={"weight": weight, "one": np.array([1], np.int64)})
    predict = onnx_model.load(content, DIMENSION, 1, 20, 50)
    features = np.zeros((3, DIMENSION), np.float32)
    features[1] = 100.0
    assert predict(features).tolist() == [0, onnx_model.FAILED, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "1 to 1000 operators"),
        (b"\x00\xff" * 50, "not an ONNX file"),
        (graph(helper.make_node("RandomNormalLike", ["features"], ["scores"])), "RandomNormalLike"),
        (graph(helper.make_node("Gemm", ["features", "more"], ["scores"]), inputs=2), "one input"),
        (graph(helper.make_node("Relu", ["features"], ["scores"], domain="custom")), "Relu"),
        (graph(helper.make_node("Relu", ["features"], ["scores"])), "finite scores"),
        (graph(helper.make_node("Log", ["features"], ["scores"])), "finite scores"),
    ],
)
def test_what_is_no_arithmetic_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        onnx_model.load(content, DIMENSION, CLASSES, 20, 50)


def test_a_graph_inside_a_graph_is_refused() -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["features"], ["y"])], "inner", [], [])
    node = helper.make_node("Identity", ["features"], ["scores"], body=inner)
    with pytest.raises(InputError, match="graph inside"):
        onnx_model.check_graph(graph(node))


def test_numbers_outside_the_file_are_refused() -> None:
    model = onnx.ModelProto.FromString(graph(MATMUL, constants={"weight": WEIGHT}))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    with pytest.raises(InputError, match="inside the file"):
        onnx_model.check_graph(model.SerializeToString())


def test_a_model_too_slow_for_the_stated_records_is_refused() -> None:
    with pytest.raises(PolicyError, match="too slow"):
        onnx_model.load(graph(MATMUL, constants={"weight": WEIGHT}), DIMENSION, CLASSES, 1, 10**9)


def test_a_linear_layer_predicts_as_numpy_does() -> None:
    bias = np.array([0.1, -0.2, 0.3], np.float32)
    predict = linear_model(save({"weight": WEIGHT.T.copy(), "bias": bias}), DIMENSION, CLASSES)
    assert np.array_equal(predict(FEATURES), (FEATURES @ WEIGHT + bias).argmax(axis=1))


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": WEIGHT.T.copy()},
        {"weight": WEIGHT, "bias": np.zeros(CLASSES, np.float32)},
        {"weight": np.full((CLASSES, DIMENSION), np.nan, np.float32), "bias": np.zeros(CLASSES, np.float32)},
    ],
)
def test_other_layers_are_refused(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="model:"):
        linear_model(save(tensors), DIMENSION, CLASSES)


def test_junk_is_no_safetensors_file() -> None:
    for junk in (b"", b"x" * 100, (2**60).to_bytes(8, "little") + b"{}"):
        with pytest.raises(InputError, match="safetensors"):
            linear_model(junk, DIMENSION, CLASSES)
