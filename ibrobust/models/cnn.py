"""Small convolutional encoders."""

import torch
from torch import nn

from ibrobust.models.interface import ImageShape
from ibrobust.models.stochastic import Dropout


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


def lenet(shape: ImageShape, features: int) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling: 64,000 weights, a quarter of a megabyte."""
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    width = convolutions(torch.zeros(1, *shape)).shape[1]
    hidden = [nn.Linear(width, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
    return nn.Sequential(*convolutions, *hidden, nn.Linear(84, features))


def dropout_cnn(shape: ImageShape, features: int) -> nn.Module:
    """The network of PyTorch's basic MNIST example, dropout 0.25 and 0.5 (Kirsch et al. §G.1)."""
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )
    width = convolutions(torch.zeros(1, *shape)).shape[1]
    hidden = [Dropout(0.25), nn.Linear(width, 128), nn.ReLU(), Dropout(0.5)]
    return nn.Sequential(*convolutions, *hidden, nn.Linear(128, features))
