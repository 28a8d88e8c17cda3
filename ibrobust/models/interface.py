"""What an architecture is: image shape and number of features in, encoder out."""

from collections.abc import Callable

import torch
from torch import nn

from ibrobust.bottleneck import Bottleneck
from ibrobust.registry import Registry

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

MODELS: Registry[Callable[[ImageShape, int], nn.Module]] = Registry("model")
"""Name → (image shape, features) → encoder from normalised images (B, C, H, W) to (B, features)."""


def build_model(
    name: str, *, shape: ImageShape, classes: int, latent: int, noise_std: float | None, seed: int = 0
) -> Bottleneck:
    """An untrained model; its weights depend on the seed alone.

    Raises:
        BadInput: no such architecture.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MODELS[name](shape, 2 * latent if noise_std is None else latent)
        zeros, ones = torch.zeros(shape[0]), torch.ones(shape[0])
        model = Bottleneck(
            encoder, latent=latent, classes=classes, noise_std=noise_std, pixel_mean=zeros, pixel_std=ones
        )
    return model.to(memory_format=torch.channels_last)
