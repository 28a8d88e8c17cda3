"""Encoders by name, one file per family."""

from ibrobust.models.interface import DECODERS, MODELS, Architecture, ImageShape, architecture, build_model

__all__ = ["DECODERS", "MODELS", "Architecture", "ImageShape", "architecture", "build_model"]
