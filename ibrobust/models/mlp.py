"""Fully connected encoders."""

import math

from torch import nn

from ibrobust.models.interface import MODELS, ImageShape


@MODELS.register("mlp")
def mlp(shape: ImageShape, features: int) -> nn.Module:
    """pixels-128-128-K with ReLU: enough for digits of 8 × 8."""
    pixels = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, features)
    )
