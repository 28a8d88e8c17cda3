"""Bounds from the encoder's own mixture hold on laws that a nearest-neighbour entropy misses by many nats."""

import math

import pytest
import torch
from torch import Tensor

from benchmarks.entropy_coverage import estimate
from benchmarks.latent_laws import laws
from ibrobust.entropies.encoder_bounds import preserved_information_bounds
from ibrobust.entropies.gaussian_mixture import Means, MixtureLaw, fitted_mixture
from ibrobust.entropies.mixture_bounds import Labelled, information_bounds
from ibrobust.models.bottleneck import Encoding
from ibrobust.models.noise import ZERO_ENTROPY, ZERO_ENTROPY_STD, LatentNoise
from ibrobust.randomness import sample_draw

LAWS = {law.name: law for law in laws()}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def encoded(mean: Tensor, std: float = ZERO_ENTROPY_STD, *, y: Tensor | None = None, seed: int = 1) -> Labelled:
    encoding = Encoding(mean, torch.full_like(mean, std), mean + std * normal(*mean.shape, seed=seed))
    return Labelled(encoding, torch.zeros(len(mean), dtype=torch.int64) if y is None else y)


@pytest.mark.parametrize("dims", [3, 40])
def test_one_component_is_the_gaussian_of_means_and_noise(dims: int) -> None:
    """Beyond 32 dimensions only if the directions are the means' own: here the covariance of the others is diagonal."""
    mean = normal(400, dims) * torch.logspace(0, -2, dims, dtype=torch.float64)
    variance = 0.1 + normal(400, dims, seed=1).square()
    law = fitted_mixture(Means(mean, variance, torch.zeros(400, dtype=torch.int64)), 1)
    covariance = torch.cov(mean.T, correction=0) + variance.mean(0).diag()
    exact = torch.distributions.MultivariateNormal(mean.mean(0), covariance)
    z = normal(50, dims, seed=2)
    tolerance = 1e-9 if dims <= 32 else 0.5
    torch.testing.assert_close(law.log_density(z), exact.log_prob(z), atol=tolerance, rtol=0)


def test_a_mixture_is_a_density_and_draws_from_it() -> None:
    y = torch.arange(300) % 3
    mean = 2.0 * y[:, None] + 0.3 * normal(300, 1)
    law = fitted_mixture(Means(mean, torch.full_like(mean, 0.05), y), 4)
    grid = torch.linspace(-6, 10, 4001, dtype=torch.float64)[:, None]
    density = law.log_density(grid).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1, abs=1e-9)
    labels = torch.arange(30_000) % 3
    drawn = law.sample(labels, sample_draw(0, torch.arange(30_000)))[:, 0]
    for label in range(3):
        within = law.log_density_given_class(grid, torch.full((4001,), label)).exp()
        assert torch.trapezoid(within, grid[:, 0]).item() == pytest.approx(1, abs=1e-9)
        expected = torch.trapezoid(within * grid[:, 0], grid[:, 0]).item()
        assert drawn[labels == label].mean().item() == pytest.approx(expected, abs=0.02)


def test_components_may_lose_all_their_inputs() -> None:
    """A latent that is nothing but noise: all means are equal."""
    law = fitted_mixture(Means(torch.zeros(64, 2), torch.ones(64, 2), torch.zeros(64, dtype=torch.int64)), 4)
    assert isinstance(law, MixtureLaw)
    assert law.log_density(torch.zeros(1, 2)).item() == pytest.approx(-math.log(2 * math.pi), abs=1e-6)


def test_a_gaussian_channel_of_many_nats_lies_between_bounds_that_plain_ones_cannot_reach() -> None:
    """The plain lower bound stops at ln N, and the plain upper one is that of a sum of far-off bumps."""
    truth = 32 / 2 * math.log(1 + 0.04 / ZERO_ENTROPY_STD**2)
    whole = encoded(0.2 * normal(1500, 32))
    lower, upper = information_bounds(whole.rows(slice(400)), ZERO_ENTROPY, whole.rows(slice(400, None))).preserved
    plain = preserved_information_bounds(whole.encoding)
    assert plain[0].nats < lower.lower <= truth <= upper.upper < plain[1].nats


def test_more_inputs_tighten_the_bounds() -> None:
    whole = encoded(0.2 * normal(3000, 32))
    samples = whole.rows(slice(200))
    widths = []
    for more in (whole.rows(slice(200, 700)), whole.rows(slice(200, None))):
        lower, upper = information_bounds(samples, ZERO_ENTROPY, more).preserved
        widths.append(upper.upper - lower.lower)
    assert widths[1] < widths[0] - 0.1


def test_what_no_draw_can_have_shown_is_not_bounded_from_below() -> None:
    """A million inputs far from one another, of which a thousand are seen: they cannot be told from a continuum."""
    places = torch.randint(10**6, (1000,), generator=torch.Generator().manual_seed(0)).double()
    whole = encoded(places[:, None] * torch.tensor([[10.0, 1.0]], dtype=torch.float64))
    lower, _ = information_bounds(whole.rows(slice(200)), ZERO_ENTROPY, whole.rows(slice(200, None))).preserved
    assert 5 < lower.lower <= math.log(10**6)


def test_within_classes_the_bounds_are_those_of_each_class() -> None:
    """I[X;Z|Y] of two channels, one silent: half of the other's; I[X;Z] has the label beside it."""
    y = torch.arange(2400) % 2
    whole = encoded(torch.where(y[:, None] == 1, normal(2400, 2), 0.0) + 20.0 * y[:, None], y=y)
    bounds = information_bounds(whole.rows(slice(600)), ZERO_ENTROPY, whole.rows(slice(600, None)))
    truth = 0.5 * math.log(1 + 1 / ZERO_ENTROPY_STD**2)
    for (lower, upper), expected in ((bounds.redundant, truth), (bounds.preserved, truth + math.log(2))):
        assert lower.lower <= expected <= upper.upper
        assert upper.upper - lower.lower < 0.5


def test_noise_of_bounded_support_has_a_lower_bound() -> None:
    """p(z|x_j) is 0 for most pairs, and each of them counts."""
    from tests.test_latent_noise import UNIFORM

    noise = LatentNoise(1.0, UNIFORM)
    mean = 8.0 * (torch.arange(300) % 3).double()[:, None]
    z = mean + UNIFORM.sample(sample_draw(0, torch.arange(300)), 1)
    samples = Labelled(Encoding(mean, torch.ones_like(mean), z), torch.zeros(300, dtype=torch.int64))
    lower, upper = information_bounds(samples, noise).preserved
    assert lower.nats == pytest.approx(math.log(3), abs=0.05)
    assert upper.nats == pytest.approx(math.log(3), abs=0.05)


@pytest.mark.parametrize("name", ["surface, 64", "points, 64", "noise alone, 128", "gaussian, 2"])
def test_a_number_is_told_where_it_is_known(name: str) -> None:
    """A surface of two dimensions in 64 was off by −8.7 nats, and its error said to be .2."""
    law = LAWS[name]
    found = estimate(law, 0, samples=300, inputs=1200)
    truth = law.information(1000)
    assert found.low - 1e-6 <= truth <= found.high + 1e-6
    assert found.told == pytest.approx(truth, abs=0.35)


def test_a_number_is_left_out_where_it_is_not() -> None:
    law = LAWS["gaussian, 256"]
    found = estimate(law, 0, samples=300, inputs=1200)
    assert math.isnan(found.told)
    assert found.low <= law.information(1000) <= found.high
    assert abs(found.calibrated - law.information(1000)) < 1
