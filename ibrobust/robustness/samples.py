"""Samples as people have them, to tensors: arrays, lists, labels of any whole-number type, one-hot rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ibrobust.datasets.python_data import split_of
from ibrobust.errors import BadInput
from ibrobust.types import Images

Arrays = Tensor | NDArray[np.generic] | Sequence[object]
"""What a caller may hand in: a tensor, an array, or a list of numbers, arrays or tensors."""


_LOOKED_AT = 128


def looked_at(count: int) -> Int[Tensor, " some"]:
    """The numbers of the samples, of so many, that a model is looked at on before it is attacked: spread over all."""
    return torch.linspace(0, count - 1, min(_LOOKED_AT, count)).long()


LabelledData = Dataset[Any] | DataLoader[Any]
"""What holds images with their labels."""


class Samples(NamedTuple):
    """Images in [0, 1] (or bytes), their int64 labels and numbers, all of one length."""

    x: Images | Int[Tensor, "batch channels height width"]
    y: Int[Tensor, " batch"]
    ids: Int[Tensor, " batch"]


def usable_samples(x: Arrays | LabelledData, y: Arrays | None = None, ids: Arrays | None = None) -> Samples:
    """The samples as tensors that share no graph with the caller's.

    Args:
        x: (samples, channels, height, width), floating point in [0, 1] or bytes; or a torch `Dataset` or `DataLoader`
            of images and labels, with no y.
        y: a whole number per sample, or one-hot rows.
        ids: the samples' numbers; 0, 1, … by default.

    Raises:
        BadInput: names the argument that cannot be used.
    """
    if isinstance(x, Dataset | DataLoader):
        if y is not None:
            raise BadInput(f"y is given beside x, a {type(x).__name__} that has labels of its own; leave it out")
        split = split_of(x, "x")[:]
        x, y = split.x, split.y
    if y is None:
        raise BadInput("y is missing: the labels of x, or x as a torch Dataset or DataLoader that has them")
    images = _tensor("x", x)
    if images.ndim != 4 or images.numel() == 0:
        raise BadInput(
            f"x has shape {tuple(images.shape)}; it is (samples, channels, height, width), one sample or more"
        )
    if images.is_complex():
        raise BadInput(f"x holds {_type(images)}; pixels are floating point in [0, 1] or bytes")
    if not images.is_floating_point() and images.dtype != torch.uint8:
        images = images.to(torch.float32)
    if images.dtype != torch.uint8 and not bool(((images >= 0) & (images <= 1)).all()):
        raise BadInput("x holds pixels outside [0, 1] or NaN; scale them, and let the model normalise inside")
    labels = _whole_numbers("y", _labels(_tensor("y", y)))
    numbers = torch.arange(len(images)) if ids is None else _whole_numbers("ids", _tensor("ids", ids))
    if labels.shape != (len(images),) or numbers.shape != (len(images),):
        raise BadInput(
            f"x holds {len(images)} samples, y has shape {tuple(labels.shape)} and ids {tuple(numbers.shape)}"
        )
    if len(torch.unique(numbers)) != len(numbers):
        raise BadInput("ids name a sample twice; each sample's random numbers depend on its own")
    return Samples(images, labels, numbers)


def _tensor(name: str, values: Arrays) -> Tensor:
    """The values as a tensor of their own type without a history, and no inference tensor."""
    if not isinstance(values, Tensor):
        values = _from_array(name, values)
    values = values.detach()
    return values.clone() if values.is_inference() else values


def _from_array(name: str, values: NDArray[np.generic] | Sequence[object]) -> Tensor:
    try:
        if isinstance(values, list | tuple) and values and all(isinstance(value, Tensor) for value in values):
            return torch.stack([torch.as_tensor(value) for value in values])
        array = np.asarray(cast(ArrayLike, values))
        # torch takes neither another byte order nor steps backwards.
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{name} is a {type(values).__name__} that makes no tensor: {reason}") from error


def _labels(y: Tensor) -> Tensor:
    """One number per sample: of a column its numbers, of one-hot rows the place of the 1."""
    if y.ndim != 2:
        return y
    if y.shape[1] == 1:
        return y[:, 0]
    if not bool(((y == 0) | (y == 1)).all() & (y.sum(1) == 1).all()):
        raise BadInput(f"y has shape {tuple(y.shape)} and is not one-hot; it is one whole number per sample")
    return y.to(torch.int64).argmax(1)


def _whole_numbers(name: str, values: Tensor) -> Int[Tensor, "..."]:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise BadInput(f"{name} holds {_type(values)}; it is one whole number per sample")
    return values.to(torch.int64)


def _type(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
