"""The model every run shares: pixels → encoder → noisy latent of K dimensions → linear decoder → logits.

Noise is an explicit argument: `model.mean_path(x)` has none, and `view(model, "fresh")` says what else an evaluation
may see. `model(x)`, for training loops of your own, follows `train()` and `eval()`; nothing else depends on them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.errors import BadInput
from ibrobust.models.calls import called, type_of_parameters
from ibrobust.models.noise import LatentNoise
from ibrobust.models.stochastic import learning, noise_in_layers, noisy_layers
from ibrobust.randomness import GlobalNoise, Noise
from ibrobust.types import Images, Latents, Logits


class Encoding(NamedTuple):
    """Mean and standard deviation of p(z|x), given the masks of noisy layers, and one sample z of it; std is 0 where
    the latent has no noise of its own. Its law is the model's `noise`; z is one-hot where the latent is categorical."""

    mean: Latents
    std: Latents
    z: Latents


class Bottleneck(nn.Module):
    """Encoder, noise, linear decoder; pixels in [0, 1] are normalised inside. A new model is in evaluation mode.

    Args:
        encoder: normalised images to K features, or to 2K (mean, ρ) where the noise is learned.
        decoder: latent to logits.
        noise: the latent's noise; where it is learned the encoder has a second half of features for it.
        pixel_mean, pixel_std: per channel, of the training images.
        categorical: the features are logits of K categories and z is one of them (Kirsch et al. §E); the decoder
            gives log probabilities that are exact for mixtures of categories, so that the mean path is p(ŷ|x).

    `encoder` may hold layers from `stochastic`: they are a source of noise like the latent's, off on the mean path.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        noise: LatentNoise,
        pixel_mean: Tensor,
        pixel_std: Tensor,
        categorical: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.noise = noise
        self.categorical = categorical
        noisy = noisy_layers(encoder)
        self.noisy_layers = sorted(noisy)
        for name, layer in noisy.items():
            layer.stream = name
        self.register_buffer("pixel_mean", pixel_mean.view(1, -1, 1, 1))
        self.register_buffer("pixel_std", pixel_std.view(1, -1, 1, 1))
        self.eval()

    def distribution(self, x: Images) -> tuple[Latents, Latents]:
        """Mean and standard deviation of p(z|x); of the mean path where layers are noisy."""
        return self._parameters_of(self.encoder(self._normalised(x)))

    def encode(self, x: Images, noise: Noise) -> Encoding:
        """p(z|x) with one sample of it drawn from `noise`."""
        return self._sampled(self.encoder, self._normalised(x), noise)

    def encodings(self, x: Images, noise: Noise, count: int) -> list[Encoding]:
        """`encode` with `noise.fold(0)`, `noise.fold(1)`, …; what no noise reaches is computed once."""
        deterministic, head = self._split_at_the_noise()
        features = deterministic(self._normalised(x))
        return [self._sampled(head, features, noise.fold(i)) for i in range(count)]

    def _normalised(self, x: Images) -> Images:
        return (x - self.pixel_mean) / self.pixel_std

    def _sampled(self, head: nn.Module, features: Tensor, noise: Noise) -> Encoding:
        if self.noisy_layers:
            with noise_in_layers(noise.fold("layers")):
                features = head(features)
        else:
            features = head(features)
        mean, std = self._parameters_of(features)
        if self.categorical:
            threshold = noise.fold("latent").uniform(1)
            chosen = (mean.cumsum(1) <= threshold).sum(1).clamp(max=mean.shape[1] - 1)
            return Encoding(mean, std, F.one_hot(chosen, mean.shape[1]).to(mean.dtype))
        return Encoding(mean, std, self.noise.sample(mean, std, noise.fold("latent")))

    def _parameters_of(self, features: Tensor) -> tuple[Latents, Latents]:
        if self.categorical:
            probability = features.softmax(1)
            return probability, (probability * (1 - probability)).sqrt()
        return self.noise.parameters_of(features)

    def _split_at_the_noise(self) -> tuple[nn.Module, nn.Module]:
        if not self.noisy_layers:
            return self.encoder, nn.Identity()
        if not isinstance(self.encoder, nn.Sequential):
            return nn.Identity(), self.encoder
        first = min(int(name.partition(".")[0]) for name in self.noisy_layers)
        return self.encoder[:first], self.encoder[first:]

    def mean_path(self, x: Images) -> Logits:
        """Logits without noise, whatever the mode."""
        logits: Tensor = self.decoder(self.distribution(x)[0])
        return logits

    def forward(self, x: Images) -> Logits:
        """Logits of the mean path in evaluation mode. In training mode, which is for training loops of your own, those
        of one sample of the noise, drawn from torch's global generator, with batch norm on the batch's statistics; the
        choice of a categorical latent stays the exact mixture."""
        if not self.training:
            return self.mean_path(x)
        with learning():
            if self.categorical:
                with noise_in_layers(GlobalNoise(len(x), x.device)):
                    return self.mean_path(x)
            logits: Tensor = self.decoder(self.encode(x, GlobalNoise(len(x), x.device)).z)
            return logits


EOT_DRAWS = 16
"""Samples of the noise that attacks average over where the view is `fresh`; AutoAttack's `rand` takes 20."""


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

    A model that is not of this package keeps its noise to itself: `mean` is one plain call, and for the others torch's
    generators are set from the noise of the batch, so that a seed gives the same numbers again, with the same batches.

    Raises:
        BadInput: the name is none of these.
    """
    kind, _, count = name.partition(":")
    if name == "mean":
        plain = called(model, model.mean_path if isinstance(model, Bottleneck) else model)
        return View(lambda x, _noise: plain(x), name, draws=0)
    if not (name == "fresh" or (kind == "averaged" and count.isdecimal() and int(count) > 0)):
        raise BadInput(f"no noise view {name!r}; choose from mean, fresh, averaged:N with N ≥ 1")
    draws = 1 if name == "fresh" else int(count)
    passes = _latent_passes if isinstance(model, Bottleneck) else _seeded_passes
    if name == "fresh":
        return View(lambda x, noise: passes(model, x, noise, draws)[0], name, draws)
    return View(lambda x, noise: _averaged(passes(model, x, noise, draws)), name, draws)


def attacked_view(model: nn.Module, name: str) -> View:
    """What attacks see where `name` is scored: an average over the noise (EOT: Athalye et al. 2018), or the mean path.

    Raises:
        BadInput: as `view`.
    """
    return view(model, f"averaged:{EOT_DRAWS}" if name == "fresh" else name)


def _latent_passes(model: nn.Module, x: Images, noise: Noise, draws: int) -> list[Logits]:
    assert isinstance(model, Bottleneck)
    encodings = model.encodings(x.to(type_of_parameters(model)), noise, draws)
    return [model.decoder(encoding.z).to(torch.float32) for encoding in encodings]


def _seeded_passes(model: nn.Module, x: Images, noise: Noise, draws: int) -> list[Logits]:
    """Calls of any model, each with torch's generators at a state of its own, put back afterwards."""
    passes, plain = [], called(model)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for index in range(draws):
            words = noise.fold(index).uniform(2).sum(0, dtype=torch.float64)
            _seed_torch(int((words * 2**24 % 2**31) @ words.new_tensor([1.0, 2.0**31])))
            passes.append(plain(x))
    return passes


def _seed_torch(seed: int) -> None:
    """Do what `torch.manual_seed` does for the CPU and CUDA: that one also keeps a traceback, in milliseconds and for
    good, for each kind of device that there is none of."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def _averaged(passes: list[Logits]) -> Logits:
    return log_mean_probability(torch.stack(passes))


def log_mean_probability(logits: Float[Tensor, "samples batch classes"]) -> Logits:
    """ln of the mean class probabilities over samples of the noise."""
    log_probability: Logits = logits.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(logits))
    return log_probability
