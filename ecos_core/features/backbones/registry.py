"""Every family of backbones that is known. A newcomer is one module with a ``find``, and one line here."""

from __future__ import annotations

from ecos_core.errors import InputError
from ecos_core.features.backbones import (
    efficientnet_lite,
    minilm,
    onnx_file,
    open_clip_models,
    sentence_models,
    timm_models,
    torchvision_models,
    transformers_images,
)
from ecos_core.features.backbones.backbone import Backbone, Wanted

EMBEDDED = efficientnet_lite.LITE0
# Their graph is built by whoever runs it, from an installed wheel: it is never taken from a folder.
BUILT_HERE = frozenset(efficientnet_lite.VARIANTS)
# Under schema 1 these travelled with a graph whose shapes depended on the data; it is built here instead.
BUILT_HERE_BEFORE = BUILT_HERE | {minilm.MINILM}
# The first that knows a name takes it; torchvision's names have no prefix, so it comes last.
FAMILIES = (
    efficientnet_lite,
    minilm,
    timm_models,
    open_clip_models,
    transformers_images,
    sentence_models,
    onnx_file,
    torchvision_models,
)


def find_backbone(name: str, weights: str | None = None, image_size: int | None = None) -> Backbone:
    """Resolve a backbone and its weights to a file and its digest; no network is built.

    ``weights``: None (the wheel's for an embedded backbone, torchvision's ``DEFAULT``), a weights name such as
    ``IMAGENET1K_V2``, or a path. ``image_size``: a side in px; None: the backbone's own. Raises InputError.
    """
    wanted = Wanted(name, weights, image_size)
    for family in FAMILIES:
        if (found := family.find(wanted)) is not None:
            return found
    known = "; ".join(family.NAMES for family in FAMILIES)
    raise InputError(f"unknown extractor '{name}': use {known}")
