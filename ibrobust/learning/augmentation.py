"""Changes to training images, made in batches where the images live."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ibrobust.registry import Registry, extension_point

AUGMENTATIONS: Registry[Callable[[Tensor, torch.Generator], Tensor]] = extension_point("augmentation", Callable)
"""Name → (images (B, C, H, W), generator on their device) → images of the same shape and type."""


def none(x: Tensor, _generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return x


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to 4 pixels either way, black at the border."""
    batch, channels, height, width = x.shape
    padded = F.pad(x, (4, 4, 4, 4))
    top, left = (torch.randint(9, (2, batch, 1), generator=generator, device=x.device)).unbind()
    rows = (top + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=x.device))[:, None, None, :]
    images = torch.arange(batch, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    return padded[images, channel, rows, columns]


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Left and right exchanged in half of the images."""
    mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)


def crop_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Both (Kirsch et al. §G.1)."""
    return flip(crop(x, generator), generator)
