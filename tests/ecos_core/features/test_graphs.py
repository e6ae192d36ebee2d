"""What a backbone's graph may be, and that its digest is about what it computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ecos_core.errors import InputError
from ecos_core.features.graphs import inspect_graph

PIXELS = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 8, 8, 3])
OUT = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])


def model(
    nodes: list, initialisers: list = (), inputs: list = (PIXELS,), outputs: list = (OUT,)
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", list(inputs), list(outputs), list(initialisers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def mean_colour(
    *, scale: float = 2.0, name: str = "x", as_node: bool = False, axes: str = "axes"
) -> onnx.ModelProto:
    """Features: twice the mean colour."""
    tensor = numpy_helper.from_array(np.array(scale, np.float32), "scale")
    nodes = [
        helper.make_node("Cast", ["pixels"], [name], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", [name], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["features"]),
    ]
    if as_node:
        return model([helper.make_node("Constant", [], ["scale"], value=tensor), *nodes])
    return model(nodes, [tensor])


def digest(made: onnx.ModelProto) -> str:
    return inspect_graph(made.SerializeToString()).digest


def refused(made: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        inspect_graph(made.SerializeToString())


def test_the_digest_is_about_what_is_computed_not_how_it_is_written() -> None:
    plain = digest(mean_colour())
    noted = mean_colour(name="other", as_node=True)
    noted.producer_name, noted.doc_string = "another exporter", "hello"
    noted.graph.node[1].name = "named"
    assert digest(noted) == plain
    assert digest(mean_colour(scale=3.0)) != plain
    changed = mean_colour()
    changed.graph.node[1].attribute[0].ints[:] = [1]
    assert digest(changed) != plain
    later = mean_colour()
    later.opset_import[0].version = 16
    assert digest(later) != plain


def test_a_graph_is_described_for_a_person() -> None:
    graph = inspect_graph(mean_colour().SerializeToString())
    assert (graph.shape, graph.dimension, graph.operators) == (
        (None, 8, 8, 3), 3, {"Cast": 1, "ReduceMean": 1, "Mul": 1},
    )  # fmt: skip
    assert "one record at a time: 8 x 8 x 3 uint8" in "\n".join(graph.summary())


def test_numbers_outside_the_file_are_refused_wherever_they_are() -> None:
    outside = mean_colour()
    tensor = outside.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    refused(outside, "outside its file")
    inside_node = mean_colour(as_node=True)
    value = inside_node.graph.node[0].attribute[0].t
    value.external_data.add(key="location", value="/etc/passwd")
    refused(inside_node, "outside its file")
    sparse = mean_colour()
    sparse.graph.sparse_initializer.add().values.external_data.add(key="location", value="x")
    refused(sparse, "sparse")
    hidden = mean_colour()
    hidden.graph.node[0].attribute.add(
        name="odd", type=onnx.AttributeProto.INT
    ).sparse_tensor.values.external_data.add(key="location", value="x")
    refused(hidden, "outside its file")


@pytest.mark.parametrize(
    "operator", ["NonZero", "Unique", "Loop", "If", "Scan", "RandomNormal", "Bernoulli", "Compress"]
)
def test_state_chance_branches_and_shapes_from_data_are_refused(operator: str) -> None:
    made = mean_colour()
    made.graph.node.add(op_type=operator, input=["mean"], output=["y"])
    refused(made, operator)


def test_graphs_functions_and_domains_inside_are_refused() -> None:
    custom = mean_colour()
    custom.graph.node[2].domain = "evil.domain"
    refused(custom, r"evil\.domain\.Mul")
    nested = mean_colour()
    attribute = nested.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.CopyFrom(mean_colour().graph)
    refused(nested, "Cast holds something else")
    function = mean_colour()
    function.functions.add(name="f")
    refused(function, "functions")


def test_a_shape_that_depends_on_the_data_is_refused() -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0, axes=[0, 1, 2, 3]),
        helper.make_node("ConstantOfShape", ["most"], ["features"]),
    ]
    refused(model(nodes), "ConstantOfShape has a shape that depends on the data")
    own = [
        helper.make_node("Shape", ["pixels"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["features"]),
    ]
    assert inspect_graph(model(own).SerializeToString()).operators["Shape"] == 1


@pytest.mark.parametrize("sides", [["n", "h", "w", 3], [4, 8, 8, 3], [], ["n"]])
def test_the_input_has_a_fixed_shape_and_a_free_batch(sides: list) -> None:
    given = helper.make_tensor_value_info("pixels", TensorProto.UINT8, sides)
    refused(model(list(mean_colour().graph.node), mean_colour().graph.initializer, [given]), "fixed shape")


def test_what_is_no_graph_is_refused_in_one_line() -> None:
    for content in (b"", b"no onnx here", b"\x08" * 100):
        with pytest.raises(InputError):
            inspect_graph(content)
    dangling = mean_colour()
    dangling.graph.node[2].input[0] = "nowhere"
    refused(dangling, "before it is computed")
    twice = mean_colour()
    twice.graph.node[2].output[0] = "mean"
    refused(twice, "twice")
