"""What a data set is: two splits of images and labels, and a fingerprint of exactly those tensors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

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
