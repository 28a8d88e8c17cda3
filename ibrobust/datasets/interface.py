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
        order: how the samples of each part are ordered.
        test_part: what the test part is called, where a folder has several that could be it.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...] = ()
    order: str = STORED
    test_part: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set; `train` is empty where a file or folder has no training part."""

    name: str
    train: Split
    test: Split
    classes: int
    class_names: tuple[str, ...] = ()
    order: str = STORED
    test_part: str = ""
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
        """What results say about their data: name and fingerprint; of folders also the names of the classes by label,
        the order of the samples and which folder is the test part."""
        named = {"classes": list(self.class_names)} if self.class_names else {}
        ordered = {"order": self.order} if self.order != STORED else {}
        part = {"test_part": self.test_part} if self.test_part else {}
        return {"name": self.name, "fingerprint": self.fingerprint, **named, **ordered, **part}


Loader = Callable[[Path | None, bool], tuple[Split, Split] | Parts]
"""(data folder, whether to download) → training and test part."""

DATASETS: Registry[Loader] = extension_point("data set", Callable)
