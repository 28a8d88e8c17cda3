"""Residual networks: ResNet18 (He et al. 2016a), ResNet18v2 (He et al. 2016b) and a small one for CPUs.

Images up to 64 pixels wide meet a 3 × 3 convolution and no max pooling (Kirsch et al. §G.1), larger ones the ordinary
7 × 7 stem. `dropconnect` drops weights of all convolutions but the first, `dropout` features before the last layer;
both share their masks within a training batch.
"""

from itertools import pairwise

from torch import Tensor, nn

from ibrobust.models.interface import ImageShape
from ibrobust.models.stochastic import BatchNorm2d, DropConnectConv2d, dropout_layer

_WIDTHS = [64, 128, 256, 512]


def resnet18(shape: ImageShape, features: int, *, dropout: float = 0.0, dropconnect: float = 0.0) -> nn.Module:
    """ResNet18, post-activation: 11.2 million weights."""
    stem = _stem(shape, [BatchNorm2d(64), nn.ReLU()])
    blocks = [
        block
        for inputs, outputs in pairwise([64, *_WIDTHS])
        for block in (
            _PostActivation(inputs, outputs, 1 if inputs == outputs else 2, dropconnect),
            _PostActivation(outputs, outputs, 1, dropconnect),
        )
    ]
    return nn.Sequential(*stem, *blocks, *_end(512, features, dropout))


def resnet18v2(shape: ImageShape, features: int, *, dropout: float = 0.0, dropconnect: float = 0.0) -> nn.Module:
    """ResNet18v2, pre-activation, with the batch norm that closes the last block: 11.2 million weights."""
    blocks = [
        block
        for inputs, outputs in pairwise([64, *_WIDTHS])
        for block in (
            _PreActivation(inputs, outputs, 1 if inputs == outputs else 2, dropconnect),
            _PreActivation(outputs, outputs, 1, dropconnect),
        )
    ]
    end = [BatchNorm2d(512), nn.ReLU(), *_end(512, features, dropout)]
    return nn.Sequential(*_stem(shape, []), *blocks, *end)


def resnet_small(shape: ImageShape, features: int, *, dropout: float = 0.0, dropconnect: float = 0.0) -> nn.Module:
    """A pre-activation network for CPUs: three blocks of 32, 64 and 128 channels, each halving the image."""
    stem = nn.Conv2d(shape[0], 32, 3, padding=1, bias=False)
    blocks = [_PreActivation(inputs, outputs, 2, dropconnect) for inputs, outputs in pairwise([32, 32, 64, 128])]
    return nn.Sequential(stem, *blocks, BatchNorm2d(128), nn.ReLU(), *_end(128, features, dropout))


class _PostActivation(nn.Module):
    """conv-BN-ReLU-conv-BN beside the input, ReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropconnect: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _convolution(inputs, outputs, 3, stride, dropconnect),
            BatchNorm2d(outputs),
            nn.ReLU(),
            _convolution(outputs, outputs, 3, 1, dropconnect),
            BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        projection = [_convolution(inputs, outputs, 1, stride, dropconnect), BatchNorm2d(outputs)]
        self.shortcut = nn.Sequential(*([] if same else projection))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return activated


class _PreActivation(nn.Module):
    """BN-ReLU-conv-BN-ReLU-conv beside the input; a shortcut that changes size starts after the first ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropconnect: float) -> None:
        super().__init__()
        self.activated = nn.Sequential(BatchNorm2d(inputs), nn.ReLU())
        self.branch = nn.Sequential(
            _convolution(inputs, outputs, 3, stride, dropconnect),
            BatchNorm2d(outputs),
            nn.ReLU(),
            _convolution(outputs, outputs, 3, 1, dropconnect),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else _convolution(inputs, outputs, 1, stride, dropconnect)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activated(x)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        summed: Tensor = shortcut + self.branch(activated)
        return summed


def _stem(shape: ImageShape, normalised: list[nn.Module]) -> list[nn.Module]:
    channels, _, width = shape
    if width <= 64:
        return [nn.Conv2d(channels, 64, 3, padding=1, bias=False), *normalised]
    pooling = nn.MaxPool2d(3, stride=2, padding=1)
    return [nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False), *normalised, pooling]


def _convolution(inputs: int, outputs: int, size: int, stride: int, dropconnect: float) -> nn.Conv2d:
    if dropconnect:
        return DropConnectConv2d(inputs, outputs, size, rate=dropconnect, stride=stride, padding=size // 2)
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def _end(width: int, features: int, dropout: float) -> list[nn.Module]:
    return [
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), *dropout_layer(dropout, shared=True), nn.Linear(width, features)
    ]  # fmt: skip
