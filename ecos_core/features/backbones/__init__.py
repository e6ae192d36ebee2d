"""Backbones: which network, with which weights, and what it is shown. One module a family, one line in ``registry``."""

from ecos_core.features.backbones.backbone import Backbone, Wanted
from ecos_core.features.backbones.registry import BUILT_HERE, BUILT_HERE_BEFORE, EMBEDDED, find_backbone

__all__ = ["BUILT_HERE", "BUILT_HERE_BEFORE", "EMBEDDED", "Backbone", "Wanted", "find_backbone"]
