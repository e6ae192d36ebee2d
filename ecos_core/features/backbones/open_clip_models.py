"""The image side of any CLIP that open_clip saved, ``open_clip/NAME``; the feature is its image embedding.

Weights are a folder with ``open_clip_config.json`` beside the weights, as on the Hugging Face hub.
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

PREFIX = "open_clip/"
NAMES = "open_clip/NAME with --weights FOLDER"
HINT = "give --weights a folder with open_clip_config.json and the weights"


def find(wanted: Wanted) -> Backbone | None:
    """None for a name without the prefix. Raises InputError."""
    if not wanted.name.startswith(PREFIX):
        return None
    folder = wanted.path(HINT)
    try:
        record = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
        vision, given = record["model_cfg"]["vision_cfg"], record["preprocess_cfg"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: no open_clip_config.json in it; {HINT}") from error
    own = given.get("size") or vision["image_size"]
    size = fixed_size(wanted, int(own[0] if isinstance(own, list) else own))
    crops = {"shortest": "shorter", "squash": "squash"}
    mode = given.get("resize_mode") or "shortest"
    if mode not in crops:
        raise InputError(
            f"{folder}: resize_mode '{mode}' is not known here: give the network as ONNX with a card"
        )
    preprocessing = preprocessing_of(
        image_size=size,
        crop=crops[mode],
        resampling=given.get("interpolation") or "bicubic",
        mean=on_255(given["mean"]),
        std=on_255(given["std"]),
    )
    return Backbone(
        wanted.name, files_digest(weights_files(folder)), preprocessing, functools.partial(_module, folder)
    )


def _module(folder: Path, image_size: int) -> Any:
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise MissingDependencyError("open_clip_torch", "backbones") from error

    class ImageSide(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.visual = model.visual

        def forward(self, x: Any) -> Any:
            found = self.visual(x)
            return found[0] if isinstance(found, tuple) else found

    try:
        return ImageSide(open_clip.create_model(f"local-dir:{folder}")).eval()
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(
            f"{folder}: open_clip cannot load it ({str(error).splitlines()[0][:200]})"
        ) from error
