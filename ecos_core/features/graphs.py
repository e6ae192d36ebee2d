"""An ONNX graph as a program that a data owner agrees to: what it may be, its digest, and a few lines to read.

A graph may only be arithmetic: one input, one output, operators of a list, everything inside the file. There is no
state, no random number, no branch, no loop, no graph inside a graph, no custom operator, and no shape that depends
on the data: what decides a shape (a ``Reshape``'s target, a ``Slice``'s ends) must follow from constants and from
the input's own shape. So time and memory are the same for every record of one shape.

The digest covers what the graph computes (operators, attributes, constants, wiring), not how a serialiser wrote it:
names, the order of initialisers, constants as nodes or as initialisers, producer and documentation do not change it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.storage import canonical_json, sha256_hex

MAX_GRAPH_BYTES = 2**31 - 1  # protobuf's own limit: a larger graph cannot hold its numbers
MAX_NODES = 20_000
MAX_CONSTANTS = 20_000
MAX_STRING = 256
_OPERATORS = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift
    Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum
    DepthToSpace DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max
    MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv
    QLinearMatMul QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
    RotaryEmbedding Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose
    Trilu Unsqueeze Where Xor
"""
OPERATORS = frozenset(_OPERATORS.split())
# The inputs that decide a shape, by position; all others are data.
_SHAPING = {
    **{name: (1,) for name in OPERATORS if name.startswith("Reduce")},
    "ConstantOfShape": (0,), "CumSum": (1,), "Expand": (1,), "OneHot": (1,), "Pad": (1, 3), "Range": (0, 1, 2),
    "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,),
    "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,),
}  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """A graph that passed ``inspect_graph``.

    ``shape``: the input's, with None for a free axis (the first: the batch; a text's second: its tokens).
    ``numbers``: how many constants it holds in all. ``digest``: sha256 of what it computes, 64 hex digits.
    """

    digest: str
    input_name: str
    input_type: str
    shape: tuple[int | None, ...]
    dimension: int | None
    operators: dict[str, int]
    numbers: int
    bytes: int

    def summary(self) -> list[str]:
        """What a person agrees to, in a few lines."""
        axes = " x ".join("any" if side is None else str(side) for side in self.shape[1:])
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.operators.items()))
        return [
            f"graph      {self.digest}",
            f"computes   {sum(self.operators.values()):,} operators of {len(self.operators)} kinds over "
            f"{self.numbers:,} numbers ({self.bytes / 1e6:.1f} MB)",
            f"operators  {kinds}",
            f"input      one record at a time: {axes} {self.input_type}",
            f"output     {self.dimension or '?'} numbers a record",
        ]


def inspect_graph(content: bytes) -> Graph:
    """Check a serialised ONNX model against what a backbone may be, and describe it.

    Raises InputError, in one line that names what is refused, and MissingDependencyError without ``onnx``.
    """
    onnx = _onnx()
    if len(content) > MAX_GRAPH_BYTES:
        raise InputError(f"the graph has {len(content):,} bytes, at most {MAX_GRAPH_BYTES:,} are allowed")
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise InputError("the graph is not an ONNX file") from error
    _check_whole(onnx, model)
    return _Reader(onnx, model).read(len(content))


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "client") from error
    return onnx


def _check_whole(onnx: Any, model: Any) -> None:
    """Everything that is not a node's wiring."""
    graph = model.graph
    if len(model.functions) or len(model.training_info):
        raise InputError("the graph defines functions or training steps: export it as one plain graph")
    if not 1 <= len(graph.node) <= MAX_NODES or len(graph.initializer) > MAX_CONSTANTS:
        raise InputError(f"the graph has {len(graph.node):,} nodes: 1 to {MAX_NODES:,} are allowed")
    if len(graph.sparse_initializer):
        raise InputError("the graph has sparse constants: write them out as plain ones")
    refused = sorted({_named(node) for node in graph.node if not _allowed(node)})
    if refused:
        raise InputError(f"the graph has operators that are not allowed: {', '.join(refused)[:200]}")
    plain = {
        onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT, onnx.AttributeProto.STRING, onnx.AttributeProto.TENSOR,
        onnx.AttributeProto.FLOATS, onnx.AttributeProto.INTS, onnx.AttributeProto.STRINGS,
    }  # fmt: skip
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type not in plain or attribute.ref_attr_name or attribute.HasField("g"):
                raise InputError(f"the graph's {_named(node)} holds something else than numbers and words")
    for tensor in _tensors(graph):
        if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
            raise InputError("the graph keeps numbers outside its file: save it with all of them inside")


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph without subgraphs: the constants, and those inside attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield attribute.sparse_tensor.values
            yield attribute.sparse_tensor.indices


def _allowed(node: Any) -> bool:
    return node.op_type in OPERATORS and node.domain in ("", "ai.onnx")


def _named(node: Any) -> str:
    name = node.op_type if node.op_type.isidentifier() else "(unnamed)"
    domain = node.domain if node.domain.replace(".", "_").isidentifier() else ""
    return f"{domain}.{name}"[:60] if domain and domain != "ai.onnx" else name[:60]


class _Reader:
    """Follows the wiring once: every value gets a number, and is data or not (``_data``)."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self._onnx, self._model, self._graph = onnx, model, model.graph
        self._values: dict[str, Any] = {}
        self._data: set[str] = set()
        self._lines: list[Any] = []
        self._numbers = 0

    def read(self, size: int) -> Graph:
        given = self._only(
            [value for value in self._graph.input if value.name not in self._initial()], "input"
        )
        kind, shape = self._typed(given)
        self._values[given.name] = ["input"]
        self._data.add(given.name)
        for tensor in self._graph.initializer:
            self._define(tensor.name, self._constant(tensor))
        for node in self._graph.node:
            self._node(node)
        out = self._only(self._graph.output, "output")
        if out.name not in self._values:
            raise InputError("the graph's output is not computed by any of its nodes")
        identity = {
            "opset": self._opset(),
            "input": [kind, shape],
            "nodes": self._lines,
            "output": self._values[out.name],
        }
        return Graph(
            digest=hashlib.sha256(canonical_json(identity)).hexdigest(),
            input_name=given.name,
            input_type=kind,
            shape=shape,
            dimension=self._width(out),
            operators=dict(Counter(node.op_type for node in self._graph.node if node.op_type != "Constant")),
            numbers=self._numbers,
            bytes=size,
        )

    def _initial(self) -> set[str]:
        return {tensor.name for tensor in self._graph.initializer}

    @staticmethod
    def _only(values: Iterable[Any], what: str) -> Any:
        found = list(values)
        if len(found) != 1:
            raise InputError(f"the graph has {len(found)} {what}s: exactly one is needed")
        return found[0]

    def _typed(self, value: Any) -> tuple[str, tuple[int | None, ...]]:
        """The input's type and shape; only the batch, and the length of a text, may be free."""
        tensor = value.type.tensor_type
        kind = self._onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        sides = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
            for dim in tensor.shape.dim
        )
        free = 2 if kind == "int64" and len(sides) == 2 else 1
        if len(sides) < 2 or sides[0] not in (None, 1) or None in sides[free:]:
            raise InputError(
                "the graph's input needs a fixed shape behind its batch axis, and a batch that is free or 1; "
                f"it has {['?' if side is None else side for side in sides]}"
            )
        return kind, sides

    def _width(self, value: Any) -> int | None:
        """The length of the output's last axis, where the file says it."""
        sides = value.type.tensor_type.shape.dim
        return sides[-1].dim_value or None if len(sides) >= 2 else None

    def _opset(self) -> int:
        versions = [entry.version for entry in self._model.opset_import if entry.domain in ("", "ai.onnx")]
        if len(versions) != 1:
            raise InputError("the graph does not say its operators' version (opset)")
        return int(versions[0])

    def _define(self, name: str, value: Any) -> None:
        if name in self._values:
            raise InputError("the graph computes one of its values twice")
        self._values[name] = value

    def _constant(self, tensor: Any) -> list[Any]:
        """What stands for a constant: its type, shape and digest. Names do not count."""
        name = self._onnx.TensorProto.DataType.Name(tensor.data_type)
        if name in ("UNDEFINED", "STRING"):
            raise InputError("the graph has a constant that is not made of numbers")
        try:
            array = self._onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # whatever a crafted tensor makes the reader trip over
            raise InputError("the graph has a damaged constant") from error
        self._numbers += array.size
        stored = np.ascontiguousarray(array)
        if stored.dtype.byteorder == ">":
            stored = stored.astype(stored.dtype.newbyteorder("<"))
        return ["constant", name, list(array.shape), sha256_hex(stored.tobytes())]

    def _node(self, node: Any) -> None:
        inputs = []
        for name in node.input:
            if name and name not in self._values:
                raise InputError(f"the graph's {node.op_type} reads a value before it is computed")
            inputs.append(self._values[name] if name else None)
        shaping = [node.input[place] for place in _SHAPING.get(node.op_type, ()) if place < len(node.input)]
        if self._data.intersection(shaping):
            raise InputError(f"the graph's {node.op_type} has a shape that depends on the data")
        if node.op_type == "Constant":
            self._define(node.output[0], self._constant(self._constant_of(node)))
            return
        attributes = {attribute.name: self._attribute(attribute) for attribute in node.attribute}
        data = node.op_type not in ("Shape", "Size") and self._data.intersection(node.input)
        for place, name in enumerate(node.output):
            if name:
                self._define(name, [len(self._lines), place])
                if data:
                    self._data.add(name)
        self._lines.append([node.op_type, inputs, len(node.output), attributes])

    def _constant_of(self, node: Any) -> Any:
        """The tensor that a ``Constant`` node is, however it is written."""
        if len(node.attribute) != 1 or len(node.output) != 1:
            raise InputError("the graph's Constant has not one value")
        attribute, types = node.attribute[0], self._onnx.AttributeProto
        if attribute.type == types.TENSOR:
            return attribute.t
        if attribute.type not in (types.FLOAT, types.FLOATS, types.INT, types.INTS):
            raise InputError("the graph has a constant that is not made of numbers")
        floats = attribute.type in (types.FLOAT, types.FLOATS)
        value = self._onnx.helper.get_attribute_value(attribute)
        return self._onnx.numpy_helper.from_array(np.array(value, np.float32 if floats else np.int64))

    def _attribute(self, attribute: Any) -> Any:
        types = self._onnx.AttributeProto
        if attribute.type == types.TENSOR:
            return self._constant(attribute.t)
        value = self._onnx.helper.get_attribute_value(attribute)
        if attribute.type in (types.FLOAT, types.FLOATS):
            return [float(one).hex() for one in np.atleast_1d(value)]
        if attribute.type in (types.STRING, types.STRINGS):
            words = [value] if isinstance(value, bytes) else list(value)
            if any(len(word) > MAX_STRING for word in words):
                raise InputError("the graph has a word of more than 256 bytes in it")
            return ["words", *(word.decode("latin-1") for word in words)]
        return [int(one) for one in np.atleast_1d(value)]
