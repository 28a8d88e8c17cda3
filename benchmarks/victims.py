"""What is attacked here: a LeNet-sized CNN, trained in seconds, plainly or on adversarial images."""

import os
from pathlib import Path

import torch
from torch import nn

from ibrobust.attacks.losses import cross_entropy
from ibrobust.datasets import Dataset, load_dataset
from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen
from ibrobust.types import Images, Labels


class Centred(nn.Module):
    """Pixels from [0, 1] to [-1, 1]."""

    def forward(self, x: Images) -> Images:
        return 2 * x - 1


def lenet(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Two convolutions of 5 × 5 with 6 and 16 channels and three linear layers (LeCun et al. 1998)."""
    channels, height, width = shape
    return nn.Sequential(
        Centred(),
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (height // 4) * (width // 4), 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def strided(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Two convolutions with stride 2 and two linear layers, no pooling (as Wong & Kolter 2018)."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )


class Block(nn.Module):
    """Batch norm before each of two convolutions, and a way around them (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.around = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Images) -> Images:
        before = torch.relu(self.norm1(x))
        features: Images = self.around(before) + self.conv2(torch.relu(self.norm2(self.conv1(before))))
        return features


def residual(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """A small pre-activation ResNet of two blocks."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 8, 3, 2, 1, bias=False),
        Block(8, 16, 2),
        Block(16, 32, 2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def smooth(shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """A perceptron without a ReLU: nothing here was tuned on it."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 128),
        nn.Softplus(beta=4),
        nn.Linear(128, 64),
        nn.Tanh(),
        nn.Linear(64, classes),
    )


ARCHITECTURES = {"lenet": lenet, "strided": strided, "residual": residual, "smooth": smooth}
TRAINED = {"lenet": (0.2, 500), "strided": (0.3, 800), "residual": (0.2, 500), "smooth": (0.1, 500)}
"""Radius and batches that each network is trained with, on MNIST."""


def benchmark_data(name: str | None = None) -> Dataset:
    """MNIST from `$IBROBUST_DATA`, scikit-learn's digits where it is not there; or the data set of that name."""
    folder = os.environ.get("IBROBUST_DATA")
    data_dir = Path(folder) if folder else None
    if name is not None:
        return load_dataset(name, data_dir=data_dir)
    try:
        return load_dataset("mnist", data_dir=data_dir)
    except BadInput:
        return load_dataset("digits")


def trained_lenet(data: Dataset, *, adversarial: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Adam on 600 batches of 128; with `adversarial` on 400, of images that a short PGD moved by up to that radius,
    which grows over the first half."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = lenet(data.shape, data.classes)
    steps = 400 if adversarial else 600
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(data.train), (128,), generator=generator)
        x, y = as_images(data.train.x[rows]), data.train.y[rows]
        eps = adversarial * min(1.0, 2 * step / steps)
        optimizer.zero_grad()
        cross_entropy(model(_moved(model, x, y, eps, generator) if eps else x), y).mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _moved(model: nn.Module, x: Images, y: Labels, eps: float, generator: torch.Generator) -> Images:
    """PGD with 4 steps of eps/2 (Madry et al. 2018): seconds matter here, and 2 radii are what crosses the ball."""
    x_adv = (x + eps * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
    with frozen(model):
        for _ in range(4):
            x_adv.requires_grad_()
            (gradient,) = torch.autograd.grad(cross_entropy(model(x_adv), y).sum(), x_adv)
            x_adv = (x_adv.detach() + eps / 2 * gradient.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return x_adv


def trained_victim(name: str, weights: Path | None, data: Dataset | None = None) -> nn.Module:
    """One of `TRAINED`; on MNIST its weights are kept in that folder for the next time.

    Args:
        data: where it is not MNIST, whose pixels are nearly black or white: of other data half the radius is enough.
    """
    eps, steps = TRAINED[name]
    data = data or benchmark_data("mnist")
    file = weights / f"{name}.pt" if weights and data.name == "mnist" else None
    if file and file.exists():
        model = ARCHITECTURES[name](data.shape, data.classes)
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    model = adversarially_trained(name, data, eps=eps if data.name == "mnist" else eps / 2, steps=steps)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    return model


def adversarially_trained(name: str, data: Dataset, *, eps: float, steps: int, seed: int = 0) -> nn.Sequential:
    """One of `ARCHITECTURES`, Adam on batches of 128 images that a short PGD moved by up to that radius, which grows
    over the first half; batch norm learns from the moved images, which are made with its averages."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ARCHITECTURES[name](data.shape, data.classes)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(data.train), (128,), generator=generator)
        x, y = as_images(data.train.x[rows]), data.train.y[rows]
        radius = eps * min(1.0, 2 * step / steps)
        moved = _moved(model.eval(), x, y, radius, generator) if radius else x
        optimizer.zero_grad()
        cross_entropy(model.train()(moved), y).mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval()
