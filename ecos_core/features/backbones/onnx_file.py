"""Any ONNX file with a small card beside it, ``onnx/NAME``: the network that somebody trained and exported.

``--weights model.onnx`` with ``model.json``, its card:

    {"image_size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
     "interpolation": "bicubic", "crop": "shorter", "scaled": 256, "pooling": "none"}

The graph takes normalised float32 [n, 3, size, size] and gives [n, d], or [n, d, h, w] or [n, t, d] with ``pooling``
``mean`` (over places or tokens) or ``first`` (token). Normalisation and pooling are put into the graph, so that it
takes pixels as every other backbone does; nothing of it is run where it is not agreed to.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import (
    Backbone,
    Wanted,
    file_digest,
    fixed_size,
    on_255,
    preprocessing_of,
)

PREFIX = "onnx/"
NAMES = "onnx/NAME with --weights FILE.onnx and its card FILE.json"
HINT = "give --weights the .onnx file; its card lies beside it as .json"


class Card(BaseModel):
    """What a network was trained on. ``mean`` and ``std`` are on the scale 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic", "lanczos"] = "bicubic"
    crop: Literal["centre", "shorter", "squash"] = "shorter"
    scaled: int | None = None
    pooling: Literal["none", "mean", "first"] = "none"


def find(wanted: Wanted) -> Backbone | None:
    """None for a name without the prefix. Raises InputError."""
    if not wanted.name.startswith(PREFIX):
        return None
    path = wanted.path(HINT)
    card = _card(path.with_suffix(".json"))
    preprocessing = preprocessing_of(
        image_size=fixed_size(wanted, card.image_size),
        crop=card.crop,
        resampling=card.interpolation,
        scaled=card.scaled,
        mean=on_255(card.mean),
        std=on_255(card.std),
    )
    build = functools.partial(_graph, path, card)
    return Backbone(wanted.name, file_digest(path), preprocessing, _no_module, build)


def _card(path: Path) -> Card:
    try:
        return Card.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise InputError(f"{path}: the card of the ONNX file is missing; {HINT}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg'].lower()}") from error
    except ValueError as error:
        raise InputError(f"{path}: no JSON") from error


def _no_module(image_size: int) -> Any:
    raise InputError("an ONNX file runs with --engine onnx, on a CPU")


def _graph(path: Path, card: Card, image_size: int) -> bytes:
    """The file's graph between the normalisation of uint8 pixels [n, size, size, 3] and the pooling."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("onnx", "client") from error
    from ecos_core.features.graphs import inspect_graph
    from ecos_core.features.onnx_engine import OnnxEngine

    content = path.read_bytes()
    given = inspect_graph(content)
    if given.input_type != "float" or given.shape[1:] != (3, image_size, image_size):
        raise InputError(f"{path}: takes {given.input_type} {list(given.shape)}, not float [n, 3, {image_size}, "
                         f"{image_size}]")  # fmt: skip
    model = onnx.ModelProto.FromString(content)
    graph, helper = model.graph, onnx.helper
    # Names of the file's values cannot start so: they get a prefix of their own.
    onnx.compose.add_prefix_graph(graph, "own_", inplace=True)
    source = "own_" + given.input_name
    mean, std = (np.array(on_255(values), np.float32).reshape(1, 3, 1, 1) for values in (card.mean, card.std))
    for name, value in (("mean", mean), ("scale", 1 / std)):
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    before = [
        helper.make_node("Cast", ["pixels"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["channels", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], [source]),
    ]
    last = graph.output[0].name
    nodes = [*before, *graph.node, *_pooling(onnx, graph, card.pooling, last)]
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [value for value in graph.input if value.name != source]
    width = _width(graph.output[0], card.pooling)
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend([helper.make_tensor_value_info(
        "pixels", onnx.TensorProto.UINT8, ["n", image_size, image_size, 3]), *kept])  # fmt: skip
    graph.output.append(helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", width]))
    if width is None:  # the file does not say it: the cloud, whose file this is, tries it
        tried = OnnxEngine(model.SerializeToString()).run(np.zeros((1, image_size, image_size, 3), np.uint8))
        graph.output[0].type.tensor_type.shape.dim[1].dim_value = tried.shape[1]
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _width(output: Any, pooling: str) -> int | None:
    sides = [dim.dim_value or None for dim in output.type.tensor_type.shape.dim]
    wanted = {"none": (2,), "mean": (3, 4), "first": (3,)}[pooling]
    if len(sides) not in wanted:
        raise InputError(
            f"the graph's output has {len(sides)} axes; with pooling '{pooling}' it needs {wanted[0]}"
        )
    return sides[1] if len(sides) in (2, 4) else sides[2]


def _pooling(onnx: Any, graph: Any, pooling: str, last: str) -> list[Any]:
    helper = onnx.helper
    if pooling == "none":
        return [helper.make_node("Identity", [last], ["features"])]
    if pooling == "first":
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.int64), "zero"))
        return [helper.make_node("Gather", [last, "zero"], ["features"], axis=1)]
    if len(graph.output[0].type.tensor_type.shape.dim) == 4:
        return [
            helper.make_node("GlobalAveragePool", [last], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
        ]
    # A mean over tokens whose operator's form does not depend on the file's opset.
    return [
        helper.make_node("Transpose", [last], ["turned"], perm=[0, 2, 1]),
        helper.make_node("GlobalAveragePool", ["turned"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
    ]
