"""The model every run shares: pixels → encoder → noisy latent of K dimensions → linear decoder → logits.

Noise is an explicit argument. `model(x)` is the mean path, without noise; `view(model, "fresh")` says what else
an evaluation may see. Nothing hangs on `train()` or `eval()`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.errors import BadInput
from ibrobust.randomness import Noise
from ibrobust.types import Images, Latents, Logits

ZERO_ENTROPY_STD = (2 * math.pi * math.e) ** -0.5
"""Standard deviation of the Gaussian whose differential entropy is 0 nats (Kirsch et al. §3.3)."""


class Encoding(NamedTuple):
    """p(z|x) = N(mean, std²) and one sample z of it; std is 0 where there is no noise."""

    mean: Latents
    std: Latents
    z: Latents


class Bottleneck(nn.Module):
    """Encoder, noise, linear decoder; pixels in [0, 1] are normalised inside.

    Args:
        encoder: normalised images to K features, or to 2K (mean, ρ) where the noise is learned.
        noise_std: σ of the latent noise; None learns it per sample and dimension as softplus(ρ − 5), Alemi et al.
        pixel_mean, pixel_std: per channel, of the training images.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        latent: int,
        classes: int,
        noise_std: float | None,
        pixel_mean: Tensor,
        pixel_std: Tensor,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(latent, classes)
        self.noise_std = noise_std
        self.register_buffer("pixel_mean", pixel_mean.view(1, -1, 1, 1))
        self.register_buffer("pixel_std", pixel_std.view(1, -1, 1, 1))

    def distribution(self, x: Images) -> tuple[Latents, Latents]:
        """Mean and standard deviation of p(z|x)."""
        features = self.encoder((x - self.pixel_mean) / self.pixel_std)
        if self.noise_std is None:
            mean, rho = features.chunk(2, dim=1)
            return mean, F.softplus(rho - 5)
        return features, torch.full_like(features, self.noise_std)

    def encode(self, x: Images, noise: Noise) -> Encoding:
        """p(z|x) with one sample of it drawn from `noise`."""
        mean, std = self.distribution(x)
        if self.noise_std == 0:
            return Encoding(mean, std, mean)
        return Encoding(mean, std, mean + std * noise.fold("latent").normal(mean.shape[1]))

    def forward(self, x: Images) -> Logits:
        """Logits of the mean path: no noise."""
        logits: Tensor = self.decoder(self.distribution(x)[0])
        return logits


@dataclass(frozen=True)
class View:
    """A classifier as an evaluation sees it: images and noise in, logits out.

    Attributes:
        draws: how many samples of the noise one query uses; 0 where the answer does not depend on noise.
    """

    classify: Callable[[Images, Noise], Logits]
    name: str
    draws: int

    def __call__(self, x: Images, noise: Noise) -> Logits:
        return self.classify(x, noise)


def view(model: nn.Module, name: str = "mean") -> View:
    """What an evaluation sees of a model: `mean` (noise off), `fresh` (one new sample of the noise in every
    query) or `averaged:n` (log of the mean class probabilities over n samples).

    Raises:
        BadInput: the name is none of these, or asks a model without noise for noise.
    """
    kind, _, count = name.partition(":")
    if name == "mean":
        return View(lambda x, _noise: model(x), name, draws=0)
    if not (name == "fresh" or (kind == "averaged" and count.isdecimal() and int(count) > 0)):
        raise BadInput(f"no noise view {name!r}; choose from mean, fresh, averaged:N with N ≥ 1")
    if not isinstance(model, Bottleneck):
        raise BadInput(f"noise view {name!r} needs one of this package's models; any other has the view mean")
    if name == "fresh":
        return View(lambda x, noise: model.decoder(model.encode(x, noise).z), name, draws=1)
    draws = int(count)
    return View(lambda x, noise: _averaged_logits(model, x, noise, draws), name, draws)


def _averaged_logits(model: Bottleneck, x: Images, noise: Noise, draws: int) -> Logits:
    logits = torch.stack([model.decoder(model.encode(x, noise.fold(i)).z) for i in range(draws)])
    return logits.log_softmax(dim=2).logsumexp(dim=0) - math.log(draws)
