"""Encoders by name, one file per family."""

from ibrobust.models.interface import DECODERS, MODELS, ImageShape, build_model

__all__ = ["DECODERS", "MODELS", "ImageShape", "build_model"]
