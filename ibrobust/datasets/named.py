"""Data sets by name."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ibrobust.datasets.image_folders import folder_parts
from ibrobust.datasets.interface import Loader, Parts, Split
from ibrobust.errors import BadInput


def digits(_folder: Path | None, _download: bool) -> tuple[Split, Split]:
    """1797 digits of 8 × 8 from scikit-learn's wheel. The last 500 are the test set: other writers than the first."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    x = torch.tensor(loaded.images / 16, dtype=torch.float32).unsqueeze(1)
    everything = Split(x, torch.tensor(loaded.target, dtype=torch.int64))
    return everything[:-500], everything[-500:]


def _from_torchvision(class_name: str) -> Loader:
    def load(folder: Path | None, download: bool) -> tuple[Split, Split]:
        from torchvision import datasets

        root = _data_folder(folder)
        try:
            train, test = (getattr(datasets, class_name)(root, train=part, download=download) for part in (True, False))
        except RuntimeError as error:
            raise BadInput(f"{class_name} is not in {str(root)!r}; add --download to fetch it there") from error
        return _array_split(train), _array_split(test)

    return load


def _array_split(dataset: object) -> Split:
    pixels = torch.as_tensor(getattr(dataset, "data"))  # noqa: B009 - torchvision's classes share no interface
    x = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return Split(x, torch.as_tensor(getattr(dataset, "targets"), dtype=torch.int64))  # noqa: B009


mnist = _from_torchvision("MNIST")
fashion_mnist = _from_torchvision("FashionMNIST")
cifar10 = _from_torchvision("CIFAR10")


def permutation_mnist(folder: Path | None, download: bool) -> tuple[Split, Split]:
    """MNIST with its pixels in one fixed random order (Goodfellow et al. 2013)."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(28 * 28))  # its stream is frozen for all versions
    train, test = mnist(folder, download)[:2]
    return _permuted(train, order), _permuted(test, order)


def _permuted(split: Split, order: Tensor) -> Split:
    return Split(split.x.flatten(1)[:, order].view(split.x.shape), split.y)


def imagenette(folder: Path | None, download: bool) -> Parts:
    """Ten classes of ImageNet, shorter side 256, centre crop 224, in an order that is spread over the classes."""
    from torchvision import datasets

    root = _data_folder(folder)
    try:
        datasets.Imagenette(root, split="val", size="320px", download=download)
    except RuntimeError as error:
        raise BadInput(f"Imagenette is not in {str(root)!r}; add --download to fetch it there") from error
    return folder_parts(root / "imagenette2-320", 224)


def _data_folder(folder: Path | None) -> Path:
    if folder is None:
        raise BadInput("this data set needs a folder; name it with --data-dir or $IBROBUST_DATA")
    if not folder.is_dir():
        raise BadInput(f"--data-dir {str(folder)!r} is not a folder")
    return folder
