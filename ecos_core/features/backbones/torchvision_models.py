"""Any classification model of torchvision by name; its last linear layer is removed, what entered it is the feature.

Weights are a ``state_dict`` file that you name, or the one that torchvision downloads for a weights name.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import (
    DEFAULT_IMAGE_SIZE,
    Backbone,
    Wanted,
    file_digest,
    preprocessing_of,
)

NAMES = "a torchvision classification model, for example resnet50, mobilenet_v3_small, vit_b_16"
# ImageNet statistics of every torchvision classification weight, on the scale 0..255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def find(wanted: Wanted) -> Backbone | None:
    """None for a name that torchvision does not know. Raises InputError."""
    models = _models()
    if wanted.name not in models.list_models(module=models):
        return None
    given = Path(wanted.weights) if wanted.weights else None
    path = given if given and given.is_file() else _named_weights(wanted.name, wanted.weights or "DEFAULT")
    size = wanted.image_size or DEFAULT_IMAGE_SIZE
    preprocessing = preprocessing_of(image_size=size, mean=MEAN, std=STD)
    module = functools.partial(_features, wanted.name, path)
    return Backbone(wanted.name, file_digest(path), preprocessing, module)


def _models() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingDependencyError("torchvision", "cloud") from error
    return models


def _named_weights(name: str, weights: str) -> Path:
    """The local file of a named torchvision weight, downloaded once into torch's own cache."""
    choices = _models().get_model_weights(name)
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


def _features(name: str, path: Path, image_size: int) -> Any:
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = _models().get_model(name, weights=None, num_classes=_classes(state))
        model.load_state_dict(state)
    except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a state_dict of torchvision's {name} ({reason})") from error
    return _without_last_linear(model, name).eval()


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
