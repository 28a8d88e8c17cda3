"""Bias and bounds of entropy estimates, on laws whose entropy is known."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ibrobust.entropies.bounds import (
    conditional_gaussian_entropy_bound,
    gaussian_entropy_bound,
    joint_gaussian_entropy_bound,
)
from ibrobust.entropies.calibration import (
    EntropyEstimate,
    calibrated_conditional_entropy,
    calibrated_entropy,
)
from ibrobust.entropies.class_gaussians import fitted_class_gaussians
from ibrobust.randomness import sample_draw
from tests.oracles_entropy import (
    Law,
    correlated_gaussian,
    laplace,
    overlapping_mixture_entropy,
    separated_mixture,
    standard_gaussian,
)


def sample(law: Law, n: int, seed: int = 0) -> Tensor:
    return law.sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dims", [32, 128, 256])
def test_bias_falls_to_a_fifth_on_gaussians_with_random_covariance(dims: int) -> None:
    law = correlated_gaussian(dims)
    estimate = calibrated_entropy(sample(law, 5000), repeats=2)
    raw, calibrated = estimate.nats - law.entropy, estimate.calibrated - law.entropy
    assert raw > 0.1 * law.entropy
    assert abs(calibrated) <= raw / 5


@pytest.mark.parametrize(
    ("law", "classes", "left"),
    [(laplace(32), 1, 0.3), (separated_mixture(32, 10), 1, 0.55), (separated_mixture(32, 10), 10, 0.03)],
    ids=["laplace", "mixture", "mixture-with-labels"],
)
def test_what_is_left_of_the_bias_on_laws_that_are_not_gaussian(law: Law, classes: int, left: float) -> None:
    """Reported as it comes out: a quarter on Laplace, a half (of the other sign) on classes whose labels are not
    given, nothing to speak of where they are."""
    estimate = calibrated_entropy(sample(law, 5000), torch.arange(5000) % classes, repeats=2)
    assert abs(estimate.calibrated - law.entropy) <= left * (estimate.nats - law.entropy)


def test_conditional_entropy_is_calibrated_within_classes() -> None:
    law, y = separated_mixture(32, 10), torch.arange(5000) % 10
    estimate = calibrated_conditional_entropy(sample(law, 5000), y, repeats=2)
    within_class = law.entropy - math.log(10)
    assert estimate.nats - within_class > 3
    assert estimate.calibrated == pytest.approx(within_class, abs=0.1)
    assert conditional_gaussian_entropy_bound(sample(law, 5000), y).nats == pytest.approx(within_class, abs=0.1)
    assert estimate.high > within_class


@pytest.mark.parametrize("dims", [1, 3, 40])
def test_gaussian_bounds_are_unbiased(dims: int) -> None:
    """Also where a covariance has hardly more samples than dimensions."""
    law = correlated_gaussian(dims)
    nats = [gaussian_entropy_bound(sample(law, 50, seed)).nats for seed in range(300)]
    bounds = torch.tensor(nats, dtype=torch.float64)
    error = bounds.std().item() / math.sqrt(300)
    assert bounds.mean().item() == pytest.approx(law.entropy, abs=4 * error)


def test_the_bound_lies_above_the_entropy() -> None:
    """By an exact amount, on a law that is neither Gaussian nor uncorrelated."""
    law = laplace(6)
    mixing = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = sample(law, 4000) @ mixing.T
    entropy = law.entropy + torch.linalg.slogdet(mixing)[1].item()
    full = gaussian_entropy_bound(z).nats
    # A Laplace variable of variance 2 lies ½ ln(2πe·2) − 1 − ln 2 = 0.072 below its Gaussian, in each dimension.
    assert full - entropy == pytest.approx(6 * (0.5 * math.log(4 * math.pi * math.e) - 1 - math.log(2)), abs=0.1)


def test_a_lower_bound_that_sampling_puts_above_the_upper_one_changes_places_with_it() -> None:
    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.zeros(200, dtype=torch.int64)
    above = gaussian_entropy_bound(z).upper
    for estimate in (
        calibrated_entropy(z, bounds=(above + 0.01, math.inf)),
        calibrated_conditional_entropy(z, y, bounds=(above + 0.01, math.inf)),
    ):
        assert (estimate.low, estimate.high) == pytest.approx((above, above + 0.01), abs=1e-12)
        assert estimate.low <= estimate.best <= estimate.high


def test_a_bound_needs_more_samples_than_dimensions() -> None:
    z = sample(standard_gaussian(10), 10)
    assert gaussian_entropy_bound(z).upper == math.inf
    estimate = calibrated_entropy(z)
    assert math.isnan(estimate.bias)
    assert estimate.high == math.inf


def test_classes_that_lie_apart_tighten_the_bound() -> None:
    law, y = separated_mixture(5, 4), torch.arange(4000) % 4
    z = sample(law, 4000)
    assert gaussian_entropy_bound(z).nats > law.entropy + 1
    assert calibrated_entropy(z, y, repeats=2).high == joint_gaussian_entropy_bound(z, y).upper
    assert joint_gaussian_entropy_bound(z, y).nats == pytest.approx(law.entropy, abs=0.1)


def test_class_gaussians_have_the_density_they_are_drawn_from() -> None:
    """Overlapping classes: the density agrees with one written out for this mixture."""
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    y = torch.arange(30000) % 3
    z = centres[y] + 0.7 * sample(standard_gaussian(2), 30000)
    gaussians = fitted_class_gaussians(z, y)
    assert gaussians is not None
    torch.testing.assert_close(gaussians.means, centres, atol=0.03, rtol=0)
    exact = overlapping_mixture_entropy(centres, 0.7, z)
    assert -gaussians.log_density(z).mean().item() == pytest.approx(exact, abs=1e-3)
    redrawn = gaussians.sample(y, sample_draw(0, torch.arange(30000)))
    assert overlapping_mixture_entropy(centres, 0.7, redrawn) == pytest.approx(exact, abs=0.03)
    conditional = -gaussians.log_density_given_class(z, y).mean().item()
    assert conditional == pytest.approx(math.log(2 * math.pi * math.e * 0.49), abs=0.02)


def test_mixture_density_integrates_to_one() -> None:
    y = torch.tensor([0, 0, 0, 2, 2, 2, 2])
    gaussians = fitted_class_gaussians(torch.tensor([[0.0], [1.0], [2.5], [5.0], [5.5], [7.0], [8.0]]), y)
    assert gaussians is not None
    grid = torch.linspace(-20, 30, 50001, dtype=torch.float64)
    assert torch.trapezoid(gaussians.log_density(grid[:, None]).exp(), grid).item() == pytest.approx(1, abs=1e-9)


def test_the_same_seed_gives_the_same_record() -> None:
    z, y = sample(laplace(4), 200), torch.arange(200) % 3
    assert calibrated_entropy(z, y, seed=3) == calibrated_entropy(z, y, seed=3)
    assert calibrated_entropy(z, y, seed=3).bias != calibrated_entropy(z, y, seed=4).bias


@settings(max_examples=10)
@given(st.floats(0.01, 100), st.floats(-10, 10))
def test_bias_knows_neither_scale_nor_place(scale: float, shift: float) -> None:
    z = sample(laplace(4), 100)
    expected = calibrated_entropy(z, repeats=2)
    moved = calibrated_entropy(scale * z + shift, repeats=2)
    assert moved.bias == pytest.approx(expected.bias, abs=1e-6)
    assert moved.high - moved.nats == pytest.approx(expected.high - expected.nats, abs=1e-6)


def test_an_estimate_within_its_bounds_needs_no_sentence_however_large_its_bias() -> None:
    """The raw number is off on every latent of many dimensions: that is what the calibrated one is for."""
    assert EntropyEstimate(422.0, "knn-l2", 3, 5000, 58.4, 0.1, low=0.0, high=363.7).warning("H[Z]") is None
    assert EntropyEstimate(4.0, "knn-l2", 3, 10, 0.1, 0.1, low=0.0, high=5.0).warning("H[Z]") is None


@pytest.mark.parametrize(
    ("unusual", "said"),
    [
        ({"nats": 500.0}, "H[Z] 500 (knn-l2, k = 3, n = 5000), calibrated 441.6, lies above its bound 363.2"),
        ({"nats": 40.0}, "calibrated -18.4, lies below its bound 0: the samples are not like those"),
        (
            {"bias": math.nan, "bias_error": math.nan},
            "too few samples for a covariance, and so for its bias; trust the",
        ),
        (
            {"bias": math.nan, "bias_error": math.nan, "high": math.inf},
            "so for its bias; it has no bound, or take more",
        ),
        ({"low": -math.inf}, "has no lower bound: calibrated it is 363.6, the upper bound 363.2"),
        ({"low": -math.inf, "high": -math.inf}, "lie in fewer dimensions than they have, so that the entropy is −∞"),
    ],
)
def test_what_is_unusual_about_an_estimate_is_said(unusual: dict[str, float], said: str) -> None:
    estimate = EntropyEstimate(422.0, "knn-l2", 3, 5000, 58.4, 0.1, low=0.0, high=363.2)
    sentence = replace(estimate, **unusual).warning("H[Z]")
    assert sentence is not None
    assert said in sentence
