"""The forward pass by torch: the default on a GPU.

On CUDA: bfloat16 autocast, channels_last, and optionally ``torch.compile``. On a CPU: float32.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.onnx_engine import cut_padding


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError("torch", "cloud") from error
    return torch


def choose_device(device: str | None) -> str:
    """``device`` if it is usable, or ``cuda`` where there is one, else ``cpu``. Raises InputError."""
    torch = _torch()
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device '{device}' asked for, but torch sees no GPU here; leave --device out or use cpu"
        )
    return device


def pixel_network(module: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Wrap ``module`` so that it takes uint8 pixels [n, size, size, 3] and normalises them itself."""
    torch = _torch()

    class PixelNetwork(torch.nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
            self.register_buffer("scale", 1 / torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))

        def forward(self, pixels: Any) -> Any:
            x = (pixels.permute(0, 3, 1, 2).float() - self.mean) * self.scale
            return torch.flatten(self.module(x), 1)

    return PixelNetwork().eval()


def export_images(module: Any, image_size: int, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """An image network as a serialised ONNX model: uint8 pixels [n, size, size, 3] to features [n, d]."""
    torch = _torch()
    example = torch.zeros((2, image_size, image_size, 3), dtype=torch.uint8)
    batch = {0: torch.export.Dim("n", min=1)}
    return _export(pixel_network(module, mean, std), example, "pixels", batch)


def export_tokens(module: Any) -> bytes:
    """A text network as a serialised ONNX model: tokens int64 [n, t] to features [n, d]."""
    torch = _torch()
    example = torch.ones((2, 12), dtype=torch.int64)
    return _export(
        module, example, "tokens", {0: torch.export.Dim("n", min=1), 1: torch.export.Dim("t", min=2)}
    )


def _export(network: Any, example: Any, name: str, free: dict[int, Any]) -> bytes:
    """Trace a torch module with a free batch size."""
    torch = _torch()
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "cloud") from error
    buffer = io.BytesIO()
    program = torch.onnx.export(
        network.eval(),
        (example,),
        input_names=[name],
        output_names=["features"],
        dynamic_shapes=({**free},),
        dynamo=True,
        verbose=False,
    )
    program.save(buffer)
    return buffer.getvalue()


class TorchEngine:
    """Prepared samples (pixels uint8 [n, size, size, 3], tokens int64 [n, t]) to float32 [n, dimension] on ``device``.

    ``network`` takes them as they are; ``example`` is a batch of them. Padding of tokens that no text of a batch
    needs is cut off.
    """

    name = "torch"
    parallel = False

    def __init__(self, network: Any, example: NDArray[Any], *, device: str, compile: bool) -> None:
        self._torch = _torch()
        self.device = device
        self._cuda = device.startswith("cuda")
        self._tokens = example.dtype == np.int64
        network = network.to(device)
        if self._cuda and not self._tokens:
            network = network.to(memory_format=self._torch.channels_last)
        self.network = self._torch.compile(network) if compile else network
        self.dimension = int(self.run(example).shape[1])

    def run(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        """Features float32 [n, d] of prepared samples [n, ...]."""
        torch = self._torch
        batch = torch.from_numpy(cut_padding(prepared) if self._tokens else np.ascontiguousarray(prepared))
        if self._cuda:
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=self._cuda):
            features: NDArray[np.float32] = self.network(batch).float().cpu().numpy()
        return features
