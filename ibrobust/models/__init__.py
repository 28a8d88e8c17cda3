"""Encoders by name. One file per family; importing this package registers them all."""

from ibrobust.models import cnn, mlp, resnet
from ibrobust.models.interface import DECODERS, MODELS, ImageShape, build_model

__all__ = ["DECODERS", "MODELS", "ImageShape", "build_model", "cnn", "mlp", "resnet"]
