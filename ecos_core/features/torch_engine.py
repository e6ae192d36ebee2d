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


def export_onnx(module: Any, image_size: int, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """Trace a torch module to a serialised ONNX model with a free batch size."""
    torch = _torch()
    try:
        import onnxscript  # noqa: F401 - the exporter needs it
    except ImportError as error:
        raise MissingDependencyError("onnxscript", "cloud") from error
    buffer = io.BytesIO()
    example = torch.zeros((2, image_size, image_size, 3), dtype=torch.uint8)
    program = torch.onnx.export(
        pixel_network(module, mean, std),
        (example,),
        input_names=["pixels"],
        output_names=["features"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("n", min=1)}},
        dynamo=True,
        verbose=False,
    )
    program.save(buffer)
    return buffer.getvalue()


class TorchEngine:
    """uint8 pixels [n, size, size, 3] to float32 features [n, dimension] on ``device``."""

    name = "torch"
    parallel = False

    def __init__(
        self,
        module: Any,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        device: str,
        compile: bool,
    ) -> None:
        self._torch = _torch()
        self.device = device
        self._cuda = device.startswith("cuda")
        network = pixel_network(module, mean, std).to(device)
        if self._cuda:
            network = network.to(memory_format=self._torch.channels_last)
        self.network = self._torch.compile(network) if compile else network
        self.dimension = int(self.run(np.zeros((2, image_size, image_size, 3), np.uint8)).shape[1])

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features float32 [n, d] of pixels uint8 [n, side, side, 3]."""
        torch = self._torch
        batch = torch.from_numpy(np.ascontiguousarray(pixels))
        if self._cuda:
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=self._cuda):
            features: NDArray[np.float32] = self.network(batch).float().cpu().numpy()
        return features
