"""Data sets by name: tensors of images and labels, and a fingerprint of exactly those tensors."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ibrobust.errors import BadInput
from ibrobust.registry import Registry


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), uint8 or float32 in [0, 1], and labels (N,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> "Split":
        return Split(self.x[rows], self.y[rows])


@dataclass(frozen=True)
class Dataset:
    """A data set; `train` is empty where a file or folder has no training part."""

    name: str
    train: Split
    test: Split
    classes: int
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for tensor in (self.train.x, self.train.y, self.test.x, self.test.y):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.test.x.shape[1:]
        return channels, height, width


Loader = Callable[[Path | None, bool], tuple[Split, Split]]
"""(data folder, whether to download) → training and test part."""

DATASETS: Registry[Loader] = Registry("data set")


def load_dataset(name: str, *, data_dir: Path | None = None, download: bool = False) -> Dataset:
    """A registered data set, an `.npz` file with `x` and `y` (and `x_train`, `y_train` to train on), or a folder with
    one folder of images per class, perhaps below `train` and `test`.

    Raises:
        BadInput: no such name, file or folder, or its content is not a data set.
    """
    if name in DATASETS:
        train, test = DATASETS[name](data_dir, download)
    elif name.endswith(".npz"):
        train, test = _npz(Path(name))
    elif Path(name).is_dir():
        train, test = _folder(Path(name))
    else:
        raise BadInput(
            f"no data set {name!r}; choose from {', '.join(sorted(DATASETS))}, an .npz file or a folder of classes"
        )
    classes = int(torch.cat([train.y, test.y]).max()) + 1
    return Dataset(name, train, test, classes)


@DATASETS.register("digits")
def _digits(_folder: Path | None, _download: bool) -> tuple[Split, Split]:
    """1797 digits of 8 × 8 from scikit-learn's wheel. The last 500 are the test set: other writers than the first."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    everything = Split(x, torch.tensor(digits.target, dtype=torch.int64))
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


DATASETS["mnist"] = _from_torchvision("MNIST")
DATASETS["fashion-mnist"] = _from_torchvision("FashionMNIST")
DATASETS["cifar10"] = _from_torchvision("CIFAR10")


@DATASETS.register("permutation-mnist")
def _permutation_mnist(folder: Path | None, download: bool) -> tuple[Split, Split]:
    """MNIST with its pixels in one fixed random order (Goodfellow et al. 2013)."""
    order = torch.from_numpy(np.random.RandomState(0).permutation(28 * 28))  # its stream is frozen for all versions
    train, test = DATASETS["mnist"](folder, download)
    return _permuted(train, order), _permuted(test, order)


def _permuted(split: Split, order: Tensor) -> Split:
    return Split(split.x.flatten(1)[:, order].view(split.x.shape), split.y)


@DATASETS.register("imagenette")
def _imagenette(folder: Path | None, download: bool) -> tuple[Split, Split]:
    """Ten classes of ImageNet, shorter side 256, centre crop 224."""
    from torchvision import datasets

    root = _data_folder(folder)
    try:
        parts = [datasets.Imagenette(root, split=part, size="320px", download=download) for part in ("train", "val")]
    except RuntimeError as error:
        raise BadInput(f"Imagenette is not in {str(root)!r}; add --download to fetch it there") from error
    train, test = (_image_split([(Path(file), label) for file, label in part._samples], 224) for part in parts)
    return train, test


def _data_folder(folder: Path | None) -> Path:
    if folder is None:
        raise BadInput("this data set needs a folder; name it with --data-dir or $IBROBUST_DATA")
    if not folder.is_dir():
        raise BadInput(f"--data-dir {str(folder)!r} is not a folder")
    return folder


def _npz(file: Path) -> tuple[Split, Split]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            content = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"data {str(file)!r} cannot be read: {error}") from error
    test = _npz_split(file, content, "x", "y")
    has_train = "x_train" in content or "y_train" in content
    return _npz_split(file, content, "x_train", "y_train") if has_train else test[:0], test


def _npz_split(file: Path, content: dict[str, np.ndarray], x_key: str, y_key: str) -> Split:
    for key in (x_key, y_key):
        if key not in content:
            raise BadInput(f"data {str(file)!r} has no array {key!r}; it has {', '.join(sorted(content)) or 'none'}")
    x, y = content[x_key], content[y_key]
    if x.ndim != 4 or len(x) == 0:
        raise BadInput(f"data {str(file)!r}: {x_key} has shape {x.shape}; write (N, C, H, W) or (N, H, W, C)")
    if x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if y.shape != (len(x),):
        raise BadInput(f"data {str(file)!r}: {x_key} holds {len(x)} samples, {y_key} has shape {y.shape}")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise BadInput(f"data {str(file)!r}: {y_key} must hold integers from 0, not {y.dtype} from {y.min()}")
    if x.dtype != np.uint8:
        x = x.astype(np.float32)
        if not ((x >= 0) & (x <= 1)).all():
            raise BadInput(f"data {str(file)!r}: {x_key} holds pixels outside [0, 1] or NaN; scale them or use uint8")
    return Split(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y.astype(np.int64)))


def _folder(folder: Path) -> tuple[Split, Split]:
    parts = {part: folder / part for part in ("train", "test")}
    if not all(part.is_dir() for part in parts.values()):
        test = _class_folders(folder)
        return test[:0], test
    return _class_folders(parts["train"]), _class_folders(parts["test"])


def _class_folders(folder: Path) -> Split:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    samples = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir()) if file.is_file()]
    if not samples:
        raise BadInput(f"folder {str(folder)!r} holds no class folders with images")
    return _image_split(samples, None)


def _image_split(samples: list[tuple[Path, int]], size: int | None) -> Split:
    """Images of one size; `size` crops the centre of the image shrunk to 8/7 of it."""
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    images = []
    for file, _ in samples:
        try:
            with Image.open(file) as opened:
                image = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise BadInput(f"{str(file)!r} is not an image") from error
        image = center_crop(resize(image, size * 8 // 7), [size, size]) if size else image
        images.append(pil_to_tensor(image))
        if images[-1].shape != images[0].shape:
            raise BadInput(f"images differ in size: {samples[0][0]} is {tuple(images[0].shape)}, {file} not")
    return Split(torch.stack(images), torch.tensor([label for _, label in samples]))
