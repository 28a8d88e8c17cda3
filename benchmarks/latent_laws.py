"""Twelve laws of latents with an encoder's noise, whose information is known exactly or to a hundredth of a nat."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ibrobust.entropies.mixture_bounds import Labelled
from ibrobust.models.bottleneck import Encoding
from ibrobust.models.noise import GAUSSIAN, ZERO_ENTROPY_STD, LatentNoise

_STD = ZERO_ENTROPY_STD
_GRID = 96
Draws = Callable[[int, torch.Generator], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class LatentLaw:
    """A law of inputs' means and noise.

    Attributes:
        draw: (inputs, generator) → means, standard deviations of the noise, labels.
        log_density: ln p(z) of samples, the noise included.
    """

    name: str
    dims: int
    draw: Draws
    log_density: Callable[[Tensor], Tensor]
    learned: bool = False

    def encoded(self, count: int, seed: int) -> Labelled:
        """Inputs with one latent sample each."""
        generator = torch.Generator().manual_seed(seed)
        mean, std, y = self.draw(count, generator)
        return Labelled(Encoding(mean, std, mean + std * _normal(count, self.dims, generator)), y)

    def information(self, draws: int = 20_000) -> float:
        """I[X;Z]: the mean of ln p(z|x) / p(z), whose own error is a hundredth or two of a nat."""
        encoding = self.encoded(draws, 10**6).encoding
        assert GAUSSIAN.log_density is not None
        own = GAUSSIAN.log_density((encoding.z - encoding.mean) / encoding.std).sum(1) - encoding.std.log().sum(1)
        log_p = torch.cat([self.log_density(part) for part in torch.split(encoding.z, 500)])
        return float((own - log_p).mean())

    @property
    def noise(self) -> LatentNoise:
        return LatentNoise(None if self.learned else _STD)


def laws() -> list[LatentLaw]:
    """From 2 to 256 dimensions, with and without labels."""
    spectrum = torch.logspace(-3, -0.5, 32, dtype=torch.float64).sqrt()
    classes = _normal(10, 32, torch.Generator().manual_seed(1))
    scales = torch.logspace(-2, 0, 10, dtype=torch.float64)[:, None]
    centres = [2 * _normal(10, dims, torch.Generator().manual_seed(2)) for dims in (8, 64)]
    return [
        _clusters("gaussian", torch.zeros(1, 2), torch.ones(1, 2)),
        _clusters("correlated", torch.zeros(1, 32), spectrum[None]),
        _clusters("gaussian", torch.zeros(1, 256), torch.full((1, 256), 0.1)),
        _clusters("noise alone", torch.zeros(1, 128), torch.zeros(1, 128)),
        _surface(64),
        _surface(256),
        _clusters("classes", classes, torch.full((10, 32), 0.1), labelled=True),
        _clusters("scales", centres[0], scales.expand(10, 8)),
        _clusters("scales", centres[1], scales.expand(10, 64), labelled=True),
        _student(4, freedom=4),
        _clusters("points", 0.5 * _normal(50, 64, torch.Generator().manual_seed(3)), torch.zeros(50, 64)),
        _clusters(
            "learned noise", _normal(5, 16, torch.Generator().manual_seed(4)), torch.full((5, 16), 0.2),
            noises=torch.logspace(-1.5, 0, 5, dtype=torch.float64), labelled=True,
        ),
    ]  # fmt: skip


def _normal(*shape_and_generator: int | torch.Generator) -> Tensor:
    *shape, generator = shape_and_generator
    return torch.randn(*shape, generator=generator, dtype=torch.float64)  # type: ignore[call-overload,no-any-return]


def _clusters(
    name: str, centres: Tensor, spread: Tensor, *, noises: Tensor | None = None, labelled: bool = False
) -> LatentLaw:
    """Equal shares of Gaussians with independent coordinates; the noise may differ between them."""
    count, dims = centres.shape
    centres, spread = centres.double(), spread.double()
    noise = torch.full((count,), _STD, dtype=torch.float64) if noises is None else noises

    def draw(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        which = torch.randint(count, (inputs,), generator=generator)
        mean = centres[which] + spread[which] * _normal(inputs, dims, generator)
        std = noise[which, None].expand(inputs, dims)
        return mean, std, which if labelled else torch.zeros_like(which)

    def log_density(z: Tensor) -> Tensor:
        total = (spread.square() + noise[:, None].square()).sqrt()
        squares = ((z[:, None] - centres) / total).square().sum(2)
        return (-squares / 2 - total.log().sum(1)).logsumexp(1) - math.log(count) - dims / 2 * math.log(2 * math.pi)

    return LatentLaw(f"{name}, {dims}", dims, draw, log_density, learned=noises is not None)


def _surface(dims: int) -> LatentLaw:
    """A curved surface of two dimensions."""
    generator = torch.Generator().manual_seed(99)
    slopes, shift = _normal(2, dims, generator), _normal(dims, generator)

    def place(t: Tensor) -> Tensor:
        return 6 / math.sqrt(dims) * torch.sin(2 * t @ slopes + shift)

    def draw(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        mean = place(torch.rand(inputs, 2, generator=generator, dtype=torch.float64))
        return mean, torch.full_like(mean, _STD), torch.zeros(inputs, dtype=torch.int64)

    middle = (torch.arange(_GRID, dtype=torch.float64) + 0.5) / _GRID
    points = place(torch.cartesian_prod(middle, middle))

    def log_density(z: Tensor) -> Tensor:
        squares = torch.cdist(z, points).square()
        peak = dims / 2 * math.log(2 * math.pi * _STD**2) + math.log(len(points))
        return (-squares / (2 * _STD**2)).logsumexp(1) - peak

    return LatentLaw(f"surface, {dims}", dims, draw, log_density)


def _student(dims: int, *, freedom: int) -> LatentLaw:
    """Student's t: Gaussians of random width, whose law is summed over its quantiles."""
    from scipy.stats import chi2

    levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    widths = torch.from_numpy(freedom / chi2.ppf(levels.numpy(), freedom)) + _STD**2

    def draw(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        scale = (_normal(inputs, freedom, generator).square().mean(1)).rsqrt()
        mean = scale[:, None] * _normal(inputs, dims, generator)
        return mean, torch.full_like(mean, _STD), torch.zeros(inputs, dtype=torch.int64)

    def log_density(z: Tensor) -> Tensor:
        logs = -z.square().sum(1)[:, None] / (2 * widths) - dims / 2 * (2 * math.pi * widths).log()
        return logs.logsumexp(1) - math.log(len(widths))

    return LatentLaw(f"student-{freedom}, {dims}", dims, draw, log_density)
