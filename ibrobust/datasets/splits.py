"""Images and labels: as tensors, or read from files block by block where memory does not hold them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = slice | Tensor
"""Which samples: a slice, or their numbers."""


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), uint8 or float32 in [0, 1], and labels (N,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Rows) -> "Split":
        return Split(self.x[rows], self.y[rows])

    def __reduce__(self) -> tuple[type["Split"], tuple[Tensor, Tensor]]:
        return Split, (_without_the_rest(self.x), _without_the_rest(self.y))


@dataclass(frozen=True)
class StoredImages:
    """Images that are read each time they are needed.

    Attributes:
        shape: (N, C, H, W).
        dtype: uint8, or float32 for images in [0, 1].
        read: the numbers of some samples → their images; another process can be sent it.
        files: what is read. While their sizes and times stay the same, so do the images.
        made: whatever else decides the pixels, in words: options, libraries that decode.
        check: looks at the files as a whole, before the images are taken for good the first time.
    """

    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    read: Callable[[NDArray[np.int64]], Tensor]
    files: tuple[Path, ...] = ()
    made: str = ""
    check: Callable[[], None] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Tensor:
        numbers = np.arange(len(self))[rows] if isinstance(rows, slice) else _numbers(rows, len(self))
        if not len(numbers):
            return torch.empty((0, *self.shape[1:]), dtype=self.dtype)
        images = self.read(numbers)
        assert images.shape == (len(numbers), *self.shape[1:]), (
            "a reader returns as many images as it was given numbers"
        )
        assert images.dtype == self.dtype, "a reader returns the type that it declared"
        return images

    @property
    def size_in_bytes(self) -> int:
        """What the images would take in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True)
class StoredSplit:
    """Images that are read as they are needed, and their labels (N,) int64; what is taken of it is a `Split`."""

    x: StoredImages
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Rows) -> Split:
        return Split(self.x[rows], self.y[rows])


AnySplit = Split | StoredSplit

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corrupted:
    """Corrupted images of the same samples.

    Attributes:
        y: the labels of the samples, once.
        splits: corruption → its images at all severities, one severity after the other.
    """

    y: Tensor
    splits: dict[str, StoredSplit]

    @property
    def corruptions(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self.splits)

    def variants(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The images of some samples under every corruption, by `fog@3`, … ."""
        count = len(self.y)
        return {
            f"{name}@{severity}": self.splits[name].x.read(rows + (severity - 1) * count)
            for name in self.corruptions
            for severity in SEVERITIES
        }


def _without_the_rest(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own: what is sent of a slice would be all that it is a slice of."""
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _numbers(rows: Tensor, count: int) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = rows.cpu().numpy().astype(np.int64)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < count):
        raise IndexError(f"samples {numbers.min()} to {numbers.max()} of {count}")
    return numbers
