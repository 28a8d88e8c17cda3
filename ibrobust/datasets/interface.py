"""What a data set is: two splits of images and labels, and a fingerprint of exactly those tensors."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ibrobust.errors import BadInput
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


def require_whole(loaded: tuple[Split, Split] | Parts, name: str) -> Parts:
    """What a loader returned, if it is a data set.

    Raises:
        BadInput: images or labels of a part have another type, shape or range than a `Split` has, or the images of the
            two parts differ in shape.
    """
    parts = Parts(*loaded)
    for part, (x, y) in {"training": (parts.train.x, parts.train.y), "test": (parts.test.x, parts.test.y)}.items():
        problems = {
            f"images have shape {tuple(x.shape)}; they have to be (N, C, H, W)": x.ndim != 4,
            f"images are {x.dtype}; they have to be uint8 or float32": x.dtype not in (torch.uint8, torch.float32),
            f"labels are {y.dtype} of shape {tuple(y.shape)}; they have to be {len(x)} int64": y.dtype != torch.int64
            or y.shape != x.shape[:1],
            "images have pixels outside [0, 1] or NaN": x.is_floating_point() and not bool(((x >= 0) & (x <= 1)).all()),
            "labels are negative": bool((y < 0).any()),
            "there is no image": part == "test" and not x.numel(),
        }
        for problem in (problem for problem, found in problems.items() if found):
            raise BadInput(f"data set {name!r}: {part} {problem}")
    if parts.train.x.shape[1:] != parts.test.x.shape[1:]:
        shapes = [tuple(split.x.shape[1:]) for split in parts[:2]]
        raise BadInput(f"data set {name!r}: images (C, H, W) are {shapes[0]} in training and {shapes[1]} in the test")
    return parts
