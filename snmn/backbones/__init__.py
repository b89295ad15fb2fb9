"""Image backbones by name: ``build_backbone("resnet101_c4")`` and the like."""

from snmn.backbones.base import Backbone, BackboneError
from snmn.backbones.registry import BACKBONES, BackboneEntry, build_backbone

__all__ = ["BACKBONES", "Backbone", "BackboneEntry", "BackboneError", "build_backbone"]
