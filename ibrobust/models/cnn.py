"""Small convolutional encoders."""

import torch
from torch import nn

from ibrobust.models.interface import MODELS, ImageShape


@MODELS.register("cnn")
def cnn(shape: ImageShape, features: int) -> nn.Module:
    """Two convolutions with pooling and one hidden layer, the size of LeNet-5: fast on a CPU, 99 % on MNIST."""
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    width = convolutions(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(*convolutions, nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, features))
