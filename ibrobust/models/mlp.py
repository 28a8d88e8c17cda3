"""Fully connected encoders."""

import math

from torch import Tensor, nn

from ibrobust.models.interface import ImageShape
from ibrobust.models.stochastic import dropout_layer


def mlp(shape: ImageShape, features: int) -> nn.Module:
    """pixels-128-128-K with ReLU: enough for digits of 8 × 8."""
    pixels = math.prod(shape)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, features)
    )


def mlp_1024(shape: ImageShape, features: int, *, dropout: float = 0.0) -> nn.Module:
    """pixels-1024-1024-K with ReLU and dropout after both layers (Kirsch et al. §G.1, §G.5; Alemi et al. 2016)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 1024),
        nn.ReLU(),
        *dropout_layer(dropout),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        *dropout_layer(dropout),
        nn.Linear(1024, features),
    )


def resnet_mlp(shape: ImageShape, features: int, *, dropout: float = 0.0) -> nn.Module:
    """A fully connected residual network (Kirsch et al. §4 name one and not its size): 512 wide, four pre-activation
    blocks of two layers, dropout before the last layer."""
    blocks = [_Residual(512) for _ in range(4)]
    end = [nn.ReLU(), *dropout_layer(dropout, shared=True), nn.Linear(512, features)]
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 512), *blocks, *end)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.branch(x)
        return summed
