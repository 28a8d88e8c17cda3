"""What is attacked here: a LeNet-sized CNN, trained in seconds, plainly or on adversarial images."""

import os
from pathlib import Path

import torch
from torch import nn

from ibrobust.datasets import Dataset, load_dataset
from ibrobust.errors import BadInput
from ibrobust.images import as_images
from ibrobust.randomness import GeneratorNoise
from ibrobust.training import adversarial_images
from ibrobust.types import Images


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


def trained_lenet(data: Dataset, *, steps: int = 600, adversarial: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Adam on batches of 128; with `adversarial` on PGD's images at that radius, which grows over the first half."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = lenet(data.shape, data.classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(data.train), (128,), generator=generator)
        x, y = as_images(data.train.x[rows]), data.train.y[rows]
        if adversarial:
            eps = adversarial * min(1.0, 2 * step / steps)
            x = adversarial_images(model, x, y, eps, GeneratorNoise(generator, len(x)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        schedule.step()
    return model.eval()
