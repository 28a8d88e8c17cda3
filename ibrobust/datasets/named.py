"""Data sets by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets.image_folders import folder_parts
from ibrobust.datasets.interface import Loader, Parts, Split
from ibrobust.datasets.shaping import shaping_of
from ibrobust.errors import BadInput, one_line


def digits(_folder: Path | None, _download: bool) -> tuple[Split, Split]:
    """1797 digits of 8 × 8 from scikit-learn's wheel. The last 500 are the test set: other writers than the first."""
    pixels, labels = _scikit_learns_digits()
    everything = Split(torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels))
    return everything[:-500], everything[-500:]


def _scikit_learns_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows of 64 pixels from 0 to 16, and labels, read without importing scikit-learn, which takes a second."""
    package = find_spec("sklearn")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else Path()
    if not file.is_file():  # Another version may keep it elsewhere.
        from sklearn.datasets import load_digits

        loaded = load_digits()
        return loaded.data, loaded.target.astype(np.int64)
    table = np.loadtxt(file, delimiter=",")
    return table[:, :-1], table[:, -1].astype(np.int64)


def _from_torchvision(class_name: str) -> Loader:
    def load(folder: Path | None, download: bool) -> tuple[Split, Split]:
        from torchvision import datasets

        with _torchvision_data(class_name, folder) as root:
            train, test = (getattr(datasets, class_name)(root, train=part, download=download) for part in (True, False))
        return _array_split(train), _array_split(test)

    return load


def _array_split(dataset: object) -> Split:
    pixels = torch.as_tensor(getattr(dataset, "data"))  # noqa: B009 - torchvision's classes share no interface
    x = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return Split(x, torch.as_tensor(getattr(dataset, "targets"), dtype=torch.int64))  # noqa: B009


LIES_IN = {
    "mnist": "MNIST/raw",
    "permutation-mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "imagenette": "imagenette2-320",
}
"""Where below the data folder the files of a data set are; the others need none."""

mnist = _from_torchvision("MNIST")
fashion_mnist = _from_torchvision("FashionMNIST")
cifar10 = _from_torchvision("CIFAR10")


def permutation_mnist(folder: Path | None, download: bool) -> tuple[Split, Split]:
    """MNIST with its pixels in one fixed random order (Goodfellow et al. 2013)."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(28 * 28))  # its stream is frozen for all versions
    train, test = mnist(folder, download)[:2]
    return _permuted(train[:], order), _permuted(test[:], order)


def _permuted(split: Split, order: Tensor) -> Split:
    return Split(split.x.flatten(1)[:, order].view(split.x.shape), split.y)


def imagenette(folder: Path | None, download: bool) -> Parts:
    """Ten classes of ImageNet, shorter side 256, centre crop 224, in an order that is spread over the classes."""
    from torchvision import datasets

    with _torchvision_data("Imagenette", folder) as root:
        datasets.Imagenette(root, split="val", size="320px", download=download)
    return folder_parts(root / "imagenette2-320", shaping_of(256, 224))._replace(transform="")


@contextmanager
def _torchvision_data(name: str, folder: Path | None) -> Iterator[Path]:
    """The data folder, for a block that reads one of torchvision's data sets from it.

    Raises:
        BadInput: there is no such folder, or the data set is not in it or cannot be read.
    """
    if folder is None:
        raise BadInput(f"{name} needs a folder: data_dir (--data-dir on the command line, or $IBROBUST_DATA)")
    if not folder.is_dir():
        raise BadInput(f"data_dir (--data-dir) {str(folder)!r} is not a folder")
    try:
        yield folder
    except Exception as error:  # torchvision raises whatever damaged files lead to
        if isinstance(error, RuntimeError) and "download" in str(error):
            raise BadInput(f"{name} is not in {str(folder)!r}; download (--download) fetches it there") from error
        reason = one_line(str(error))[:200] or type(error).__name__
        raise BadInput(f"{name} in {str(folder)!r} cannot be read: {reason}") from error
