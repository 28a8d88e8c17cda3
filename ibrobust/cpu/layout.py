"""Convolution weights with their channels innermost, where a model does not mind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ibrobust.cpu.sameness import agree, first_answer
from ibrobust.types import Images


@contextmanager
def channels_last(model: nn.Module, x: Images) -> Iterator[None]:
    """Convolution weights with their channels innermost inside the block, the very same tensors afterwards: on a CPU a
    gradient of a small CNN costs a tenth less.

    Weights stay as they are in a model that would then answer x otherwise, or raise: one that takes `view`s of them.
    """
    kernels = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    stored = [kernel.data for kernel in kernels]
    plain = first_answer(model, x) if kernels else None
    try:
        for kernel in kernels:
            kernel.data = kernel.data.clone(memory_format=torch.channels_last)
        if kernels and not agree(plain, first_answer(model, x)):
            _put_back(kernels, stored)
        yield
    finally:
        _put_back(kernels, stored)


def _put_back(kernels: Sequence[torch.Tensor], stored: list[torch.Tensor]) -> None:
    for kernel, data in zip(kernels, stored, strict=True):
        kernel.data = data
