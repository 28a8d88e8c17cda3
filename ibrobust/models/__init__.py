"""Encoders by name. One file per family; importing this package registers them all."""

from ibrobust.models import cnn, mlp
from ibrobust.models.interface import MODELS, ImageShape, build_model

__all__ = ["MODELS", "ImageShape", "build_model", "cnn", "mlp"]
