"""Image networks of transformers, ``transformers/NAME``: DINOv2, SigLIP, CLIP, ViT and their like.

Weights are a folder as ``save_pretrained`` writes it, with ``preprocessor_config.json``. The feature is the image
embedding of a two-sided model, else the pooled output, else the first token.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import (
    Backbone,
    Wanted,
    files_digest,
    fixed_size,
    on_255,
    preprocessing_of,
    weights_files,
)

PREFIX = "transformers/"
NAMES = "transformers/NAME with --weights FOLDER"
HINT = "give --weights a folder with config.json, preprocessor_config.json and the weights"
_RESAMPLING = {1: "lanczos", 2: "bilinear", 3: "bicubic"}


def find(wanted: Wanted) -> Backbone | None:
    """None for a name without the prefix. Raises InputError."""
    if not wanted.name.startswith(PREFIX):
        return None
    folder = wanted.path(HINT)
    try:
        given = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        preprocessing = preprocessing_of(
            resampling=_RESAMPLING[given["resample"]],
            mean=on_255(given["image_mean"]),
            std=on_255(given["image_std"]),
            **_crop(wanted, given),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no preprocessor_config.json that is understood; {HINT}") from error
    return Backbone(
        wanted.name, files_digest(weights_files(folder)), preprocessing, functools.partial(_module, folder)
    )


def _crop(wanted: Wanted, given: dict[str, Any]) -> dict[str, Any]:
    size = given["size"]
    if "shortest_edge" in size:
        cut = given["crop_size"]["height"] if given.get("do_center_crop", False) else size["shortest_edge"]
        return {"image_size": fixed_size(wanted, cut), "crop": "shorter", "scaled": size["shortest_edge"]}
    if size["height"] != size["width"]:
        raise ValueError("not a square")
    if given.get("do_center_crop", False) and given["crop_size"]["height"] != size["height"]:
        raise ValueError("squashed, then cut")
    return {"image_size": fixed_size(wanted, size["height"]), "crop": "squash"}


def _module(folder: Path, image_size: int) -> Any:
    try:
        import torch
        from transformers import AutoModel
    except ImportError as error:
        raise MissingDependencyError("transformers", "backbones") from error

    class ImageSide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            model = AutoModel.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
            self.model = model
            self.two_sided = hasattr(model, "get_image_features")

        def forward(self, x: Any) -> Any:
            found = (
                self.model.get_image_features(pixel_values=x)
                if self.two_sided
                else self.model(pixel_values=x)
            )
            if isinstance(found, torch.Tensor):
                return found
            pooled = getattr(found, "pooler_output", None)
            return pooled if pooled is not None else found.last_hidden_state[:, 0]

    try:
        return ImageSide().eval()
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(
            f"{folder}: transformers cannot load it ({str(error).splitlines()[0][:200]})"
        ) from error
