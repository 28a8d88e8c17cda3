"""What a data set is: two splits of images and labels, and a fingerprint of exactly those tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ibrobust.datasets.fingerprints import fingerprint_of
from ibrobust.datasets.splits import AnySplit, Corrupted, Split, StoredSplit
from ibrobust.errors import BadInput
from ibrobust.registry import Registry, extension_point

STORED = "stored"
"""The order of samples that a file has."""


class Parts(NamedTuple):
    """What a data set is read as; a plain (train, test) will do where there is nothing more to say.

    Attributes:
        class_names: by label, where classes have names; empty otherwise.
        order: how the samples of each part are ordered.
        test_part: what the test part is called, where a folder has several that could be it.
        transform: how the images were brought to one size, in words; empty where they are as they are stored.
        corrupted: the test part's samples under corruptions, where that is what the data is; `test` is one of them.
    """

    train: AnySplit
    test: AnySplit
    class_names: tuple[str, ...] = ()
    order: str = STORED
    test_part: str = ""
    transform: str = ""
    corrupted: Corrupted | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set; `train` is empty where a file or folder has no training part."""

    name: str
    train: AnySplit
    test: AnySplit
    classes: int
    class_names: tuple[str, ...] = ()
    order: str = STORED
    test_part: str = ""
    transform: str = ""
    corrupted: Corrupted | None = None
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        more = [self.corrupted.splits[name] for name in self.corrupted.corruptions] if self.corrupted else []
        object.__setattr__(self, "fingerprint", fingerprint_of(self.train, self.test, *more))

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.test.x.shape[1:]
        return channels, height, width

    @property
    def card(self) -> dict[str, Any]:
        """What results say about their data: name and fingerprint; of folders also the names of the classes by label,
        the order of the samples, which folder is the test part, and how the images were brought to one size."""
        named = {"classes": list(self.class_names)} if self.class_names else {}
        ordered = {"order": self.order} if self.order != STORED else {}
        part = {"test_part": self.test_part} if self.test_part else {}
        shaped = {"transform": self.transform} if self.transform else {}
        return {"name": self.name, "fingerprint": self.fingerprint, **named, **ordered, **part, **shaped}


Loader = Callable[[Path | None, bool], tuple[AnySplit, AnySplit] | Parts]
"""(data folder, whether to download) → training and test part."""

DATASETS: Registry[Loader] = extension_point("data set", Callable)


def require_whole(loaded: tuple[AnySplit, AnySplit] | Parts, name: str) -> Parts:
    """What a loader returned, if it is a data set.

    Raises:
        BadInput: images or labels of a part have another type, shape or range than a `Split` has, or the images of the
            two parts differ in shape.
    """
    parts = Parts(*loaded)
    for part, split in {"training": parts.train, "test": parts.test}.items():
        x, y = split.x, split.y
        floats = x if isinstance(x, Tensor) and x.is_floating_point() else torch.zeros(0)
        problems = {
            f"images have shape {tuple(x.shape)}; they have to be (N, C, H, W)": len(x.shape) != 4,
            f"images are {x.dtype}; they have to be uint8 or float32": x.dtype not in (torch.uint8, torch.float32),
            f"labels are {y.dtype} of shape {tuple(y.shape)}; they have to be {len(x)} int64": y.dtype != torch.int64
            or tuple(y.shape) != tuple(x.shape[:1]),
            "images have pixels outside [0, 1] or NaN": not bool(((floats >= 0) & (floats <= 1)).all()),
            "labels are negative": bool((y < 0).any()),
            "there is no image": part == "test" and 0 in x.shape,
        }
        for problem in (problem for problem, found in problems.items() if found):
            raise BadInput(f"data set {name!r}: {part} {problem}")
    if parts.train.x.shape[1:] != parts.test.x.shape[1:]:
        shapes = [tuple(split.x.shape[1:]) for split in parts[:2]]
        raise BadInput(f"data set {name!r}: images (C, H, W) are {shapes[0]} in training and {shapes[1]} in the test")
    return parts


def held(split: AnySplit) -> AnySplit:
    """The split in memory where it is small enough to stay there; it is read only once then."""
    return split[:] if isinstance(split, StoredSplit) and split.x.size_in_bytes <= HELD_BYTES else split


HELD_BYTES = 2**28
"""Images of a part that are kept in memory at most; of more, blocks are read as they are needed."""

__all__ = [
    "DATASETS", "HELD_BYTES", "STORED", "AnySplit", "Dataset", "Loader", "Parts", "Split", "StoredSplit", "held",
    "require_whole",
]  # fmt: skip
