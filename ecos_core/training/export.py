"""Trained models as ONNX, so that others run them without torch or scikit-learn."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import EcosError, MissingDependencyError

if TYPE_CHECKING:
    from ecos_core.training.linear_probe import LinearProbe

OPSET = 17
IR_VERSION = 8
# Largest difference of a probability between a network and its exports; rounding in float32 is far below.
PARITY_LIMIT = 1e-3


class ExportDiffers(EcosError):  # noqa: N818 - what happened
    """An exported model does not answer as the trained network does; nothing was written."""

    def __init__(self, form: str, difference: float) -> None:
        super().__init__(
            f"export: the {form} model's probabilities differ by {difference:.2g} from the trained network's "
            f"(at most {PARITY_LIMIT:g}); train with another version of torch or onnxruntime"
        )


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


def network_to_onnx(network: Any, image_size: int, classes: tuple[str, ...]) -> bytes:
    """A torch network as ONNX: ``pixels`` uint8 [n, size, size, 3] -> ``probabilities`` float32 [n, k].

    Metadata properties: ``classes`` (JSON list) and ``input`` (``pixels``).
    """
    import onnx

    program = _torch_export(network, image_size)
    buffer = io.BytesIO()
    program.save(buffer)
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {"classes": json.dumps(list(classes)), "input": "pixels"})
    return bytes(model.SerializeToString())


def _torch_export(network: Any, image_size: int) -> Any:
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
        import torch
    except ImportError as error:
        raise MissingDependencyError(str(error.name), "cloud") from error
    example = torch.zeros((2, image_size, image_size, 3), dtype=torch.uint8)
    return torch.onnx.export(
        torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval(),
        (example,),
        input_names=["pixels"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
        dynamo=True,
        verbose=False,
    )


def parity(
    network: Any, pixels: NDArray[np.uint8], *, onnx: bytes, program: bytes | None = None
) -> dict[str, float]:
    """The largest difference of a probability on ``pixels`` uint8 [n, size, size, 3] between the network on
    the CPU and each of its exports. Raises ExportDiffers beyond ``PARITY_LIMIT``.
    """
    from ecos_core.training.network import probabilities_of

    expected = probabilities_of(network, pixels, "cpu")
    answers = {"onnx": _answers_of_onnx(onnx, pixels)}
    if program is not None:
        answers["program"] = _answers_of_program(program, pixels)
    differences = {form: float(np.abs(found - expected).max()) for form, found in answers.items()}
    for form, difference in differences.items():
        if not difference <= PARITY_LIMIT:
            raise ExportDiffers(form, difference)
    return {f"{form}_difference": difference for form, difference in differences.items()}


def _answers_of_onnx(graph: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"pixels": pixels})[0], dtype=np.float32)


def _answers_of_program(program: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    import torch

    loaded = torch.export.load(io.BytesIO(program)).module()
    with torch.inference_mode():
        return np.asarray(loaded(torch.from_numpy(pixels)).numpy(), dtype=np.float32)


def network_to_program(network: Any, image_size: int) -> bytes:
    """A torch network as a ``torch.export`` archive (.pt2): the same input and output as
    ``network_to_onnx``.
    """
    import torch

    example = torch.zeros((2, image_size, image_size, 3), dtype=torch.uint8)
    whole = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()
    program = torch.export.export(whole, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()
