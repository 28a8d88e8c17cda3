"""Bounds of entropies and of information hold the truth as often as they say, and know samples without a density."""

import math

import pytest
import torch
from torch import Tensor

from ibrobust.entropies.bounds import (
    conditional_gaussian_entropy_bound,
    gaussian_entropy_bound,
    joint_gaussian_entropy_bound,
    lies_in_fewer_dimensions,
)
from ibrobust.entropies.calibration import calibrated_entropy
from ibrobust.entropies.encoder_bounds import preserved_information_bounds, redundant_information_bounds
from ibrobust.models.bottleneck import Encoding
from ibrobust.models.noise import ZERO_ENTROPY_STD
from tests.oracles_entropy import Law, correlated_gaussian, laplace, separated_mixture, standard_gaussian

HELD = 0.95
"""A bound of 2.4 standard errors misses in 0.8 % of all samples: of 200 in more than 10 with a chance of 1e-5."""


def sample(law: Law, n: int, seed: int = 0) -> Tensor:
    return law.sample(n, torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_upper_bound_of_a_gaussian_lies_above_the_truth() -> None:
    """Without its sampling error it falls below in half of all repeats."""
    law = standard_gaussian(32)
    bounds = [gaussian_entropy_bound(sample(law, 2000, seed)) for seed in range(100)]
    assert sum(bound.nats < law.entropy for bound in bounds) >= 30
    assert sum(bound.upper >= law.entropy for bound in bounds) >= HELD * 100
    assert all(bound.upper <= law.entropy + 0.6 for bound in bounds)


@pytest.mark.parametrize(
    ("law", "n"),
    [
        (standard_gaussian(32), 300),
        (standard_gaussian(32), 60),
        (correlated_gaussian(8), 50),
        (standard_gaussian(1), 20),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_gaussian_bounds_know_their_own_error(law: Law, n: int) -> None:
    bounds = [gaussian_entropy_bound(sample(law, n, seed)) for seed in range(200)]
    spread = torch.tensor([bound.nats for bound in bounds]).std().item()
    said = sum(bound.error for bound in bounds) / 200
    # The standard deviation of 200 numbers is known to 5 %.
    assert said == pytest.approx(spread, rel=0.2)
    assert sum(bound.upper >= law.entropy for bound in bounds) >= HELD * 200


def test_bounds_of_classes_know_their_own_error() -> None:
    """Shares that are drawn, covariances that differ: H[Z, Y] = H[Y] + Σ p(y) H[Z|y] is what both estimate."""
    shares, scales = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([1.0, 3.0, 0.2])
    inner = float((shares * (3 * scales.double().log() + 1.5 * math.log(2 * math.pi * math.e))).sum())
    truth = inner - float((shares * shares.log()).sum())
    conditional, joint = [], []
    for seed in range(200):
        y = torch.multinomial(shares, 300, replacement=True, generator=torch.Generator().manual_seed(seed))
        z = 50.0 * y[:, None] + scales[y, None] * normal(300, 3, seed=seed)
        conditional.append(conditional_gaussian_entropy_bound(z, y))
        joint.append(joint_gaussian_entropy_bound(z, y))
    for bounds, expected in ((conditional, inner), (joint, truth)):
        spread = torch.tensor([bound.nats for bound in bounds]).std().item()
        assert sum(bound.error for bound in bounds) / 200 == pytest.approx(spread, rel=0.2)
        assert sum(bound.upper >= expected for bound in bounds) >= HELD * 200


def test_heavy_tails_widen_the_error() -> None:
    """The covariance of Laplace samples is less well known than that of Gaussian ones: a kurtosis of 6 instead of 3."""
    bounds = [gaussian_entropy_bound(sample(laplace(2), 1000, seed)) for seed in range(200)]
    spread = torch.tensor([bound.nats for bound in bounds]).std().item()
    assert spread > 1.3 * math.sqrt(2 / 2000)
    assert sum(bound.error for bound in bounds) / 200 == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize(("n", "dims", "signal"), [(300, 1, 1.0), (300, 3, 1.0), (300, 2, 3.0), (300, 4, 0.3)])
def test_bounds_from_the_encoder_know_their_own_error(n: int, dims: int, signal: float) -> None:
    """A Gaussian channel, whose information is dims/2 ln(1 + signal²)."""
    truth = dims / 2 * math.log(1 + signal**2)
    pairs = []
    for seed in range(100):
        mean, noise = signal * normal(n, dims, seed=seed), normal(n, dims, seed=1000 + seed)
        pairs.append(preserved_information_bounds(Encoding(mean, torch.ones_like(mean), mean + noise)))
    for bounds in zip(*pairs, strict=True):
        spread = torch.tensor([bound.nats for bound in bounds]).std().item()
        assert sum(bound.error for bound in bounds) / 100 == pytest.approx(spread, rel=0.25)
    assert sum(low.lower <= truth for low, _ in pairs) >= HELD * 100
    assert sum(high.upper >= truth for _, high in pairs) >= HELD * 100


def test_zero_entropy_noise_alone_has_an_entropy_of_0_and_not_of_25() -> None:
    """What the latent of figure 3 ends as: the raw estimate is all bias."""
    estimate = calibrated_entropy(ZERO_ENTROPY_STD * normal(2000, 128), repeats=2, bounds=(0.0, math.inf))
    assert estimate.nats == pytest.approx(25.3, abs=0.5)
    assert estimate.low == 0
    assert 0 <= estimate.best <= estimate.high < 1
    assert estimate.warning("H[Z]") is None


@pytest.mark.parametrize("kind", ["dead", "constant", "copied", "rotated", "few", "far from 0"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_in_fewer_dimensions_have_an_entropy_of_minus_infinity(kind: str, dtype: torch.dtype) -> None:
    four = normal(500, 4).to(dtype)
    mixing = normal(4, 64, seed=1).to(dtype)
    z = {
        "dead": torch.cat([four, torch.zeros(500, 1, dtype=dtype)], 1),
        "constant": torch.cat([four, torch.full((500, 1), 0.3, dtype=dtype)], 1),
        "copied": torch.cat([four, four[:, :1]], 1),
        "rotated": four @ mixing[:, :8],
        "few": (four @ mixing)[:60],
        "far from 0": 1000 + four @ mixing[:, :8],
    }[kind]
    assert lies_in_fewer_dimensions(z)
    estimate = calibrated_entropy(z, repeats=2)
    assert estimate.best == estimate.high == -math.inf
    sentence = estimate.warning("H[Z]")
    assert sentence is not None
    assert "fewer dimensions" in sentence


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_dimensions_are_dimensions(dtype: torch.dtype) -> None:
    """Deviations from 1e-3 to 1e3, whatever their units; rotated, a thousandth of the largest; 60 samples in 64."""
    scales = torch.logspace(-3, 3, 8, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(normal(8, 8, seed=2))
    for z in (scales * normal(500, 8), torch.logspace(-3, 0, 8) * normal(500, 8) @ rotation, normal(60, 64)):
        assert not lies_in_fewer_dimensions(z.to(dtype))


def test_one_class_without_a_density_is_enough() -> None:
    z, y = normal(300, 3), torch.arange(300) % 3
    z[y == 1, 2] = 0.0
    assert conditional_gaussian_entropy_bound(z, y).upper == -math.inf
    assert joint_gaussian_entropy_bound(z, y).upper == -math.inf
    assert math.isfinite(gaussian_entropy_bound(z).upper)


def test_a_class_of_one_sample_bounds_what_it_can() -> None:
    mean, y = normal(21, 2), torch.tensor([0] * 10 + [1] * 10 + [2])
    low, high = redundant_information_bounds(Encoding(mean, torch.ones_like(mean), mean + normal(21, 2, seed=1)), y)
    assert math.isfinite(low.nats)
    assert math.isfinite(low.error)
    assert high.upper == math.inf


def test_classes_that_lie_apart_are_bounded_together() -> None:
    law, y = separated_mixture(8, 10), torch.arange(500) % 10
    bounds = [joint_gaussian_entropy_bound(sample(law, 500, seed), y) for seed in range(100)]
    assert sum(bound.upper >= law.entropy for bound in bounds) >= HELD * 100
