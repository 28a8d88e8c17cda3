"""What an architecture is: image shape and number of features in, encoder out."""

import inspect
from collections.abc import Callable

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


def build_model(
    name: str,
    *,
    shape: ImageShape,
    classes: int,
    latent: int,
    noise: LatentNoise,
    seed: int = 0,
    decoder: str = "linear",
    **rates: float,
) -> Bottleneck:
    """An untrained model; its weights depend on the seed alone.

    Args:
        rates: `dropout`, `dropconnect` or what else the architecture takes by name; 0 is as good as not given.

    Raises:
        BadInput: no such architecture, it has no place for a rate, or the images are too small for it.
    """
    rates = {key: rate for key, rate in rates.items() if rate}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = _encoder(name, shape, noise.features_per_dimension * latent, rates)
        zeros, ones = torch.zeros(shape[0]), torch.ones(shape[0])
        model = Bottleneck(
            encoder,
            latent=latent,
            classes=classes,
            noise=noise,
            pixel_mean=zeros,
            pixel_std=ones,
            decoder=DECODERS[decoder](latent, classes),
            categorical=decoder != "linear",
        )
    return model.to(memory_format=torch.channels_last)


def _encoder(name: str, shape: ImageShape, features: int, rates: dict[str, float]) -> nn.Module:
    architecture = MODELS[name]
    for key, rate in rates.items():
        having = sorted(model for model in MODELS if key in inspect.signature(MODELS[model]).parameters)
        if name not in having:
            raise BadInput(f"{key} {rate:g}: model {name!r} has no place for it; choose from {', '.join(having)}")
    try:
        return architecture(shape, features, **rates)
    except RuntimeError as error:
        size = " × ".join(map(str, shape))
        raise BadInput(f"model {name}: cannot take images of {size}: {str(error).splitlines()[0]}") from error
