"""Data that Python code makes: torch data sets and loaders, pairs of arrays, from a factory in a file or by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler, default_collate

from ibrobust.datasets.forms import Form
from ibrobust.datasets.image_files import pixels_of
from ibrobust.datasets.interface import AnySplit, Parts, Split, StoredSplit, held, require_whole
from ibrobust.datasets.splits import StoredImages
from ibrobust.errors import BadInput
from ibrobust.python_files import beside, executed, said

_IMAGES, _LABELS = ("image", "images", "img", "pixel_values", "x"), ("label", "labels", "y", "target")
_AT_A_TIME = 64


def split_of(data: object, what: str) -> AnySplit:
    """Images and labels of a torch `Dataset` or `DataLoader`, in its order; what is large is read as it is needed.

    Args:
        data: items or batches are (image, label), perhaps with more behind, or mappings with `image` and `label`.
            Images are tensors (C, H, W), uint8 or floating point in [0, 1], or PIL images of 8 bits.
        what: what messages call it.

    Raises:
        BadInput: it is something else, has a random order or random images, or pixels outside [0, 1].
    """
    collate: Callable[[list[Any]], Any] = _collated
    if isinstance(data, DataLoader):
        if isinstance(data.dataset, IterableDataset) or data.batch_sampler is None:
            return _streamed(data, what)
        if not isinstance(data.sampler, SequentialSampler):
            raise BadInput(f"{what}: the DataLoader draws its samples ({type(data.sampler).__name__}); make it with "
                           "shuffle=False, so that a sample keeps its number")  # fmt: skip
        if data.collate_fn is not default_collate:
            collate = data.collate_fn
        data = data.dataset
    if isinstance(data, IterableDataset):
        return _streamed((_collated([item]) for item in data), what)
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise BadInput(f"{what} is of type {type(data).__name__}; it has to be a torch Dataset or DataLoader")
    return _indexed(_Items(data, collate, what))


@dataclass(frozen=True)
class _Items:
    """A data set whose items are read by number."""

    data: Any
    collate: Callable[[list[Any]], Any]
    what: str

    def __call__(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        try:
            batch = self.collate([self.data[int(row)] for row in rows])
        except BadInput as error:
            raise BadInput(f"{self.what}: {error}") from error
        except Exception as error:
            where = f"samples {rows[0]} to {rows[-1]}"
            raise BadInput(f"{self.what}: {where} cannot be read: {said(error)}") from error
        return _usable(batch, self.what)

    def images(self, rows: NDArray[np.int64]) -> Tensor:
        """The images alone."""
        return torch.cat([self(rows[start : start + _AT_A_TIME])[0] for start in range(0, len(rows), _AT_A_TIME)])


def _indexed(items: _Items) -> AnySplit:
    """All labels are read at once, and with them all images: which are kept where they are small enough."""
    count = len(items.data)
    if not count:
        raise BadInput(f"{items.what} is empty")
    again = [items(np.arange(min(count, 4)))[0] for _ in range(2)]
    if not torch.equal(*again):
        raise BadInput(f"{items.what} gives another image each time it is read; leave random transforms out")
    labels = []
    for start in range(0, count, _AT_A_TIME):
        x, y = items(np.arange(start, min(start + _AT_A_TIME, count)))
        if (x.shape[1:], x.dtype) != (again[0].shape[1:], again[0].dtype):
            shapes = f"{tuple(again[0].shape[1:])} {again[0].dtype}, then {tuple(x.shape[1:])} {x.dtype}"
            raise BadInput(f"{items.what}: images differ: {shapes}")
        labels.append(y)
    images = StoredImages((count, *again[0].shape[1:]), again[0].dtype, items.images)
    return held(StoredSplit(images, torch.cat(labels)))


def _streamed(batches: Any, what: str) -> Split:
    """What can be read once, in order, is held in memory."""
    parts = []
    try:
        for batch in batches:
            parts.append(_usable(batch, what))
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"{what} cannot be read: {said(error)}") from error
    if not parts or len({(x.shape[1:], x.dtype) for x, _ in parts}) > 1:
        raise BadInput(f"{what} {'holds images that differ in shape or type' if parts else 'is empty'}")
    return Split(torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))


def _collated(items: list[Any]) -> tuple[Tensor, Tensor]:
    """A batch of items: default collation does not know PIL images."""
    pairs = [_pair(item) for item in items]
    images = [x if isinstance(x, Tensor) else _image(x) for x, _ in pairs]
    return torch.stack(images), torch.tensor([y.item() if hasattr(y, "item") else y for _, y in pairs])


def _image(x: Any) -> Tensor:
    if hasattr(x, "getbands"):
        return pixels_of(x, "an image")
    if isinstance(x, np.ndarray) and x.ndim == 3 and x.shape[2] in (1, 3):
        return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))
    raise BadInput(f"an image is of type {type(x).__name__}; write a tensor (C, H, W) or a PIL image")


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image, label = ([key for key in keys if key in item] for keys in (_IMAGES, _LABELS))
        if len(image) == len(label) == 1:
            return item[image[0]], item[label[0]]
        raise BadInput(f"its items have the keys {', '.join(map(str, item))}; write image and label")
    if not isinstance(item, Sequence) or len(item) < 2:
        raise BadInput(f"its items are of type {type(item).__name__}; write (image, label)")
    return item[0], item[1]


def _usable(batch: Any, what: str) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch, as a `Split` has them."""
    try:
        x, y = _pair(batch)
    except BadInput as error:
        raise BadInput(f"{what}: {error}") from error
    x, y = torch.as_tensor(x).detach().cpu(), torch.as_tensor(y).detach().cpu()
    if x.ndim != 4:
        raise BadInput(f"{what}: a batch of images has shape {tuple(x.shape)}; it has to be (N, C, H, W)")
    if x.dtype != torch.uint8:
        x = x.to(torch.float32)
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise BadInput(f"{what} holds pixels outside [0, 1] or NaN; leave Normalize out: the model does it inside")
    if y.shape != (len(x),) or y.is_floating_point() or y.dtype == torch.bool or bool((y < 0).any()):
        raise BadInput(f"{what}: labels are {y.dtype} of shape {tuple(y.shape)}; write a class number for each image")
    return x, y.to(torch.int64)


def _from_factory(data: str) -> Parts:
    """What a factory in a Python file returns, called without arguments: a data set, a loader, a pair (x, y) of arrays,
    or a mapping or pair of two such things, training and test. The file runs, so it has to be one you trust."""
    file, _, name = data.rpartition(":")
    path, what = Path(file), f"data {data!r}"
    module = executed(path, f"ibrobust_data_{path.stem}", what)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise BadInput(f"{what}: no function {name!r} in the file")
    try:
        with beside(path):
            made = factory()
            parts = _parts(made, what)
    except BadInput:
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(f"{what}: {name}() raised {said(error)}") from error
    elsewhere = tuple(_movable(split, data, index) for index, split in enumerate(parts))
    return require_whole((elsewhere[0], elsewhere[1]), data)


def _parts(made: object, what: str) -> tuple[AnySplit, AnySplit]:
    if isinstance(made, Mapping):
        if "test" not in made or set(made) - {"train", "test"}:
            raise BadInput(f"{what}: a mapping has the keys train and test, not {', '.join(map(str, made))}")
        made = (made["train"], made["test"]) if "train" in made else made["test"]
    if isinstance(made, tuple) and len(made) == 2:
        if _is_array(made[0]):
            return _alone(Split(*_usable(made, what)))
        return _parts(made[0], what)[1], _parts(made[1], what)[1]
    return _alone(split_of(made, what))


def _alone(split: AnySplit) -> tuple[AnySplit, AnySplit]:
    return split[:0], split


def _is_array(value: object) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _movable(split: AnySplit, data: str, part: int) -> AnySplit:
    """The split with images that another process can read, which calls the factory itself."""
    if not isinstance(split, StoredSplit):
        return split
    x = split.x
    return StoredSplit(StoredImages(x.shape, x.dtype, _Remade(data, part, x.read)), split.y)


class _Remade:
    """A reader of images that a factory made; in another process the factory is called again."""

    def __init__(self, data: str, part: int, read: Callable[[NDArray[np.int64]], Tensor] | None = None) -> None:
        self.data, self.part, self.read = data, part, read

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        if self.read is None:
            split = _from_factory(self.data)[:2][self.part]
            self.read = split.x.read if isinstance(split, StoredSplit) else partial(_rows_of, split.x)
        return self.read(rows)

    def __reduce__(self) -> tuple[type["_Remade"], tuple[str, int]]:
        return _Remade, (self.data, self.part)


def _rows_of(x: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return x[torch.from_numpy(rows)]


def _names_a_factory(data: str) -> bool:
    file, _, factory = data.rpartition(":")
    return file.endswith(".py") and factory.isidentifier()


PYTHON = Form(
    "FILE.py:FACTORY",
    accepts=_names_a_factory,
    load=lambda data, _options: _from_factory(data),
    holds="what a function returns: a torch Dataset or DataLoader, (x, y), or train and test of these",
    title=lambda data: f"{Path(data.rpartition(':')[0]).stem}-{data.rpartition(':')[2]}",
    example="data.py:test_set",
)
