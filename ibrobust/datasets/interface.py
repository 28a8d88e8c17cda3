"""What a data set is: two splits of images and labels, and a fingerprint of exactly those tensors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ibrobust.registry import Registry, extension_point


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W), uint8 or float32 in [0, 1], and labels (N,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> "Split":
        return Split(self.x[rows], self.y[rows])


STORED = "stored"
"""The order of samples that a file has."""


class Parts(NamedTuple):
    """What a data set is read as; a plain (train, test) will do where there is nothing more to say.

    Attributes:
        class_names: by label, where classes have names; empty otherwise.
        order: how the samples of each part are ordered, for the card.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...] = ()
    order: str = STORED


@dataclass(frozen=True)
class Dataset:
    """A data set; `train` is empty where a file or folder has no training part."""

    name: str
    train: Split
    test: Split
    classes: int
    class_names: tuple[str, ...] = ()
    order: str = STORED
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

    @property
    def card(self) -> dict[str, Any]:
        """What results say about their data: name and fingerprint; where they are not the file's own, the names of the
        classes and the order of the samples."""
        named = {"classes": list(self.class_names)} if self.class_names else {}
        ordered = {"order": self.order} if self.order != STORED else {}
        return {"name": self.name, "fingerprint": self.fingerprint, **named, **ordered}


Loader = Callable[[Path | None, bool], tuple[Split, Split] | Parts]
"""(data folder, whether to download) → training and test part."""

DATASETS: Registry[Loader] = extension_point("data set", Callable)
