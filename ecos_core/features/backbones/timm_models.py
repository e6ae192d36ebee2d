"""Any network of timm by name, ``timm/ARCHITECTURE``: DINOv2, SigLIP, ConvNeXt and some thousand others.

Weights are a folder as timm and the Hugging Face hub lay it out (``config.json`` beside ``model.safetensors``), or one
file of weights. The classifier is left off; scaling, crop and statistics are those of the weights' configuration.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.backbones.backbone import (
    Backbone,
    Wanted,
    files_digest,
    on_255,
    preprocessing_of,
    weights_files,
)

PREFIX = "timm/"
NAMES = "timm/ARCHITECTURE with --weights FOLDER"
HINT = "give --weights a folder with config.json and model.safetensors, or a file of weights"


def find(wanted: Wanted) -> Backbone | None:
    """None for a name without the prefix. Raises InputError, and MissingDependencyError without timm."""
    if not wanted.name.startswith(PREFIX):
        return None
    timm, path = _timm(), wanted.path(HINT)
    architecture = wanted.name.removeprefix(PREFIX)
    config = _config(timm, architecture, path)
    own = int(config["input_size"][-1])
    size = wanted.image_size or own
    preprocessing = preprocessing_of(
        image_size=size,
        resampling=config["interpolation"] if config["interpolation"] != "random" else "bicubic",
        mean=on_255(config["mean"]),
        std=on_255(config["std"]),
        **_crop(config, size),
    )
    files = [path] if path.is_file() else weights_files(path)
    module = functools.partial(_module, architecture, path, own, bool(config.get("fixed_input_size")))
    return Backbone(wanted.name, files_digest(files), preprocessing, module)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError("timm", "backbones") from error
    return timm


def _config(timm: Any, architecture: str, path: Path) -> dict[str, Any]:
    """What the weights were trained on: ``input_size``, ``interpolation``, ``crop_pct``, ``mean`` and so on."""
    if not timm.is_model(architecture):
        raise InputError(f"timm has no network '{architecture}': see timm.list_models()")
    if path.is_file():
        stated = timm.get_pretrained_cfg(architecture).to_dict()
    else:
        try:
            record = json.loads((path / "config.json").read_text("utf-8"))
            stated = record["pretrained_cfg"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: no config.json of timm in it; {HINT}") from error
        if record.get("architecture") != architecture.split(".")[0]:
            raise InputError(f"{path}: holds '{record.get('architecture')}', not '{architecture}'")
    resolved: dict[str, Any] = timm.data.resolve_data_config(pretrained_cfg=stated)
    return {**resolved, "fixed_input_size": stated.get("fixed_input_size", False)}


def _crop(config: dict[str, Any], size: int) -> dict[str, Any]:
    scaled = math.floor(size / config["crop_pct"])
    if config["crop_mode"] == "center":
        return {"crop": "shorter", "scaled": scaled}
    if config["crop_mode"] == "squash" and scaled == size:
        return {"crop": "squash"}
    raise InputError(
        f"timm's crop '{config['crop_mode']}' is not known here: give the network as ONNX with a card"
    )


def _module(architecture: str, path: Path, own: int, fixed: bool, image_size: int) -> Any:
    options = {"img_size": image_size} if fixed and image_size != own else {}
    timm = _timm()
    try:
        if path.is_dir():
            model = timm.create_model(f"local-dir:{path}", pretrained=True, num_classes=0, **options)
        else:
            overlay = {"file": str(path)}
            model = timm.create_model(
                architecture, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, **options
            )
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{path}: no weights of timm's {architecture} ({reason})") from error
    return model.eval()
