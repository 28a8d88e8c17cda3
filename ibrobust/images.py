"""A few small things that training, attacks and information all need before they touch a model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ibrobust.types import Images


def as_images(x: Tensor) -> Images:
    """uint8 pixels as float32 in [0, 1]; float pixels as float32. The images lie row by row in memory, however x does:
    sums and kernels round by layout, and no result may depend on it."""
    return (x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x.to(torch.float32)).contiguous()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no parameter gradients inside the block; everything as it was afterwards."""
    training = {module: module.training for module in model.modules()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, mode in training.items():
            module.training = mode


@contextmanager
def channels_last(model: nn.Module) -> Iterator[None]:
    """Convolution weights with their channels innermost inside the block, the very same tensors afterwards: on a CPU a
    gradient of a small CNN costs a tenth less."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim == 4]
    stored = [kernel.data for kernel in kernels]
    for kernel in kernels:
        kernel.data = kernel.data.clone(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for kernel, data in zip(kernels, stored, strict=True):
            kernel.data = data
