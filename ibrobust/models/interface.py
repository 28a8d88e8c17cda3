"""What an architecture is: image shape and number of features in, encoder out."""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from ibrobust.errors import BadInput
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.categorical import DataDecoder, NetworkDecoder
from ibrobust.models.noise import LatentNoise
from ibrobust.registry import Registry, extension_point

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

MODELS: Registry[Callable[..., nn.Module]] = extension_point("model", Callable)
"""Name → (image shape, features) → encoder from normalised images (B, C, H, W) to (B, features). An architecture that
has them takes the rates `dropout` and `dropconnect` by name."""

DECODERS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": nn.Linear,
    "network": NetworkDecoder,
    "data": DataDecoder,
}
"""Name → (latent dimensions or categories, classes) → decoder; all but `linear` belong to a categorical latent."""


Architecture = Callable[[ImageShape, int], nn.Module]
"""(image shape, features) → encoder."""


def architecture(name: str, **rates: float) -> Architecture:
    """An architecture by name, with its rates.

    Args:
        rates: `dropout`, `dropconnect` or what else the architecture takes by name; 0 is as good as not given.

    Raises:
        BadInput: no such architecture, or it has no place for a rate. What it returns raises it where the images are
            too small for it.
    """
    registered, rates = MODELS[name], {key: rate for key, rate in rates.items() if rate}
    for key, rate in rates.items():
        having = sorted(model for model in MODELS if key in inspect.signature(MODELS[model]).parameters)
        if name not in having:
            raise BadInput(f"{key} {rate:g}: model {name!r} has no place for it; choose from {', '.join(having)}")
    return partial(_encoder, name, partial(registered, **rates))


def build_model(
    encoder: Architecture,
    *,
    shape: ImageShape,
    classes: int,
    latent: int,
    noise: LatentNoise,
    seed: int = 0,
    decoder: str = "linear",
) -> Bottleneck:
    """An untrained model; its weights depend on the seed alone.

    Raises:
        BadInput: as what `architecture` returns.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Bottleneck(
            encoder(shape, noise.features_per_dimension * latent),
            DECODERS[decoder](latent, classes),
            noise=noise,
            pixel_mean=torch.zeros(shape[0]),
            pixel_std=torch.ones(shape[0]),
            categorical=decoder != "linear",
        )
    return model.to(memory_format=torch.channels_last)


def _encoder(name: str, registered: Architecture, shape: ImageShape, features: int) -> nn.Module:
    try:
        return registered(shape, features)
    except RuntimeError as error:
        size = " × ".join(map(str, shape))
        raise BadInput(f"model {name}: cannot take images of {size}: {str(error).splitlines()[0]}") from error
