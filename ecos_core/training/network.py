"""Networks that are trained: a pretrained backbone, or its first stages as a small student, with a linear
head.

Input is uint8 pixels [n, size, size, 3], output logits [n, k]. Batch normalisation keeps its pretrained
statistics: a selection is too small to estimate better ones, and the averaged weights then need no second
set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.features.backbones import EMBEDDED, Backbone, find_backbone
from ecos_core.features.torch_engine import pixel_network
from ecos_core.training.linear_probe import LinearProbe

FEATURE_BATCH = 64
# Blocks of EfficientNet-Lite0 that the student keeps: to the end of the fifth of seven stages (112 channels).
STUDENT_BLOCKS = 11


def build_network(backbone: str, weights_sha256: str, image_size: int) -> Any:
    """The pretrained backbone as a torch module that gives features; see ``add_head``.

    Raises InputError when the weights found here are not those of the extractor.
    """
    found = known_backbone(backbone, weights_sha256)
    return pixel_network(found.torch_module(image_size), found.mean, found.std)


def known_backbone(name: str, weights_sha256: str) -> Backbone:
    """Raises InputError when the weights found here are not those of the extractor."""
    found = find_backbone(name)
    if found.weights_sha256 != weights_sha256:
        raise InputError(
            f"backbone '{name}': the weights found here are not those of the extractor "
            f"({found.weights_sha256[:12]}, {weights_sha256[:12]}); name the same weights"
        )
    return found


def build_student(name: str, image_size: int) -> Any:
    """A small network that gives features. ``lite0_trimmed``: the first eleven of EfficientNet-Lite0's
    sixteen blocks, pretrained; ``mobilenet_v3_small``: torchvision's, from scratch.
    """
    import torch

    found = find_backbone(EMBEDDED)
    if name == "mobilenet_v3_small":
        from torchvision.models import mobilenet_v3_small

        scratch = mobilenet_v3_small(weights=None)
        scratch.classifier = torch.nn.Identity()
        return pixel_network(scratch, found.mean, found.std)
    whole = found.torch_module(image_size)
    kept = [whole._conv_stem, whole._bn0, torch.nn.ReLU6(), *whole._blocks[:STUDENT_BLOCKS]]
    trimmed = torch.nn.Sequential(*kept, torch.nn.AdaptiveAvgPool2d(1))
    return pixel_network(trimmed, found.mean, found.std)


def add_head(body: Any, dimension: int, probe: LinearProbe | None, classes: int) -> Any:
    """``body`` and a linear layer; with a probe, the layer starts as the probe.

    Starting from the fitted probe keeps the pretrained features from being distorted by a random head
    (Kumar et al., ICLR 2022).
    """
    import torch

    head = torch.nn.Linear(dimension, classes)
    if probe is not None:
        weight = probe.weight / probe.scale[:, None]
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight.T.copy()))
            head.bias.copy_(torch.from_numpy(probe.bias - probe.mean @ weight))
    return torch.nn.Sequential(body, head)


def freeze(network: Any, part: str) -> None:
    """``stem``: the first half of the body's parameters stay as they are; ``all_but_head``: all of them;
    ``none``.
    """
    body = list(network[0].parameters())
    count = {"none": 0, "stem": len(body) // 2, "all_but_head": len(body)}[part]
    for parameter in body[:count]:
        parameter.requires_grad_(False)


def features_of(body: Any, pixels: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    """Float32 [n, d] of uint8 [n, size, size, 3]."""
    return _batched(body, pixels, device, lambda output: output)


def probabilities_of(network: Any, pixels: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    """Softmax probabilities float32 [n, k] of uint8 [n, size, size, 3]."""
    return _batched(network, pixels, device, lambda output: output.float().softmax(dim=1))


def _batched(module: Any, pixels: NDArray[np.uint8], device: str, finish: Any) -> NDArray[np.float32]:
    import torch

    module.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), FEATURE_BATCH):
            batch = torch.from_numpy(pixels[start : start + FEATURE_BATCH]).to(device)
            parts.append(finish(module(batch)).float().cpu().numpy())
    return np.concatenate(parts)


def count_parameters(network: Any) -> int:
    """Trainable or not."""
    return sum(parameter.numel() for parameter in network.parameters())
