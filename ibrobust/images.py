"""A few small things that training, attacks and information all need before they touch a model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput
from ibrobust.types import Images


def as_images(x: Tensor) -> Images:
    """uint8 pixels as float32 in [0, 1]; float pixels as float32. The images lie row by row in memory, however x does:
    sums and kernels round by layout, and no result may depend on it."""
    return (x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x.to(torch.float32)).contiguous()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no parameter gradients inside the block; everything as it was afterwards.

    Exported and frozen programs have one mode and stay in it.

    Raises:
        BadInput: the model refuses to go into evaluation mode.
    """
    # A frozen TorchScript module has no such attribute.
    training = {module: module.training for module in model.modules() if hasattr(module, "training")}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        _evaluating(model)
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, mode in training.items():
            module.training = mode


def _evaluating(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError:  # What torch.export leaves behind.
        return
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"the model cannot be evaluated: its eval() raised {reason}") from error
