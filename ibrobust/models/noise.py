"""The noise of a latent as an object: what it draws, and what is known about its law (Kirsch et al. §3.3).

Z = mean + std · ε, with ε of mean 0 and variance 1, independent in every dimension. What is computed about the noise,
its entropy above all, comes from the law and from nowhere else: of a law whose entropy is not known none is reported.

A law of your own is one entry of `LATENT_NOISES`, and a recipe's `noise` may then name it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ibrobust.errors import BadInput
from ibrobust.randomness import Noise
from ibrobust.registry import Registry, extension_point
from ibrobust.types import Latents

_PAIRS_AT_A_TIME = 2**23
"""Numbers held at once where each pair of a sample and a mean is looked at; it changes memory, not the answer."""

LN_2PIE = math.log(2 * math.pi * math.e)
ZERO_ENTROPY_STD = (2 * math.pi * math.e) ** -0.5
"""Standard deviation of the Gaussian whose differential entropy is 0 nats (Kirsch et al. §3.3)."""


@dataclass(frozen=True)
class Law:
    """A law of numbers with mean 0 and variance 1.

    Attributes:
        name: what messages call it.
        sample: (source of random numbers, dimensions) → numbers of shape (batch, dimensions).
        entropy: differential entropy of one number, nats; None where it is not known. It is at most the Gaussian's,
            ½ ln 2πe.
        log_density: element by element, −∞ outside the support; None where it is not known.
    """

    name: str
    sample: Callable[[Noise, int], Latents]
    entropy: float | None = None
    log_density: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.entropy is not None and not self.entropy <= LN_2PIE / 2 + 1e-9:
            raise BadInput(
                f"entropy {self.entropy:g} of law {self.name!r}: with variance 1 it is at most {LN_2PIE / 2:.6g} nats"
            )


GAUSSIAN = Law(
    "gaussian",
    lambda noise, dims: noise.normal(dims),
    LN_2PIE / 2,
    lambda deviation: -deviation.square() / 2 - math.log(2 * math.pi) / 2,
)


@dataclass(frozen=True)
class LatentNoise:
    """The noise that is added to an encoder's features.

    Attributes:
        std: standard deviation, the same everywhere; 0 for no noise; None where the encoder learns it, per sample and
            dimension, as softplus(ρ − 5) of a second half of its features (Alemi et al. 2016).
        law: what is drawn.
    """

    std: float | None
    law: Law = GAUSSIAN

    def __post_init__(self) -> None:
        if self.std is not None and not (math.isfinite(self.std) and self.std >= 0):
            raise BadInput(f"std {self.std}: a standard deviation is a finite number from 0 on")

    @property
    def absent(self) -> bool:
        """Whether there is no noise at all."""
        return self.std == 0

    @property
    def features_per_dimension(self) -> int:
        """How many numbers the encoder has to tell for each dimension of the latent."""
        return 2 if self.std is None else 1

    def parameters_of(self, features: Tensor) -> tuple[Latents, Latents]:
        """Mean and standard deviation of p(z|x)."""
        if self.std is None:
            mean, rho = features.chunk(2, dim=1)
            return mean, F.softplus(rho - 5)
        return features, torch.full_like(features, self.std)

    def sample(self, mean: Latents, std: Latents, noise: Noise) -> Latents:
        """One sample of p(z|x) for each row, drawn from `noise`."""
        return mean if self.absent else mean + std * self.law.sample(noise, mean.shape[1])

    def entropy(self, std: Latents) -> float | None:
        """H[Z|X] in nats, the mean over the rows; −∞ without noise, None where the law's is not known."""
        if self.absent:
            return -math.inf
        if self.law.entropy is None:
            return None
        return self._entropy_of(self.law.entropy, std)

    def most_entropy(self, std: Latents) -> float:
        """The Gaussian's H[Z|X] with the same standard deviations, which no law exceeds."""
        return -math.inf if self.absent else self._entropy_of(GAUSSIAN.entropy or 0.0, std)

    def _entropy_of(self, one: float, std: Latents) -> float:
        if self.std is None:
            return float((one + std.double().log()).sum(dim=1).mean())
        return std.shape[1] * (one + math.log(self.std))

    @property
    def negentropy(self) -> float:
        """Nats that one dimension lacks to a Gaussian of the same variance.

        Raises:
            BadInput: the law's entropy is not known.
        """
        if self.law.entropy is None:
            raise BadInput(f"the entropy of noise of law {self.law.name!r} is not known")
        return 0.0 if self.law is GAUSSIAN else LN_2PIE / 2 - self.law.entropy

    def log_densities(
        self, z: Float[Tensor, "rows latent"], mean: Float[Tensor, "batch latent"], std: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "rows batch"]:
        """ln p(z_i|x_j) of every pair but for a constant, float64.

        Raises:
            BadInput: the law's density is not known, or there is no noise.
        """
        if self.absent or self.law.log_density is None:
            raise BadInput(f"the density of noise of law {self.law.name!r} and std {self.std} is not known")
        z, mean, std = z.double(), mean.double(), std.double()
        if self.law is GAUSSIAN:
            precision = std.square().reciprocal()
            weighted = mean * precision
            squares = z.square() @ precision.T - 2 * z @ weighted.T + (mean * weighted).sum(dim=1)
            return (precision.log().sum(dim=1) - squares) / 2
        size = max(1, _PAIRS_AT_A_TIME // mean.numel())
        parts = [self.law.log_density((part[:, None] - mean) / std).sum(dim=2) for part in torch.split(z, size)]
        return torch.cat(parts) - std.log().sum(dim=1)


ZERO_ENTROPY = LatentNoise(ZERO_ENTROPY_STD)
NO_NOISE = LatentNoise(0.0)
LEARNED = LatentNoise(None)

LATENT_NOISES: Registry[LatentNoise] = extension_point("latent noise", LatentNoise)
"""Noise by the name that a recipe gives it; a number is Gaussian noise of that standard deviation."""


def latent_noise(name: str) -> LatentNoise:
    """The noise of a name, or of a number: a standard deviation of Gaussian noise.

    Raises:
        BadInput: it is neither.
    """
    if name in LATENT_NOISES:
        return LATENT_NOISES[name]
    try:
        return replace(ZERO_ENTROPY, std=float(name))
    except ValueError:
        choices = f"auto, {', '.join(LATENT_NOISES)} or a standard deviation ≥ 0"
        raise BadInput(f"noise {name!r}; choose from {choices}") from None
