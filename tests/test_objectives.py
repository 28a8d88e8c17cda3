"""Objectives against their formulas, written out once more by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ibrobust.errors import BadInput
from ibrobust.learning.building import recipe_model
from ibrobust.learning.objectives import (
    REGULARIZERS,
    ClassMeans,
    conditional_log_variance,
    conditional_rate,
    decoder_cross_entropy,
    log_squared_norm,
    log_variance,
    noise_name,
    objective,
    prediction_cross_entropy,
    rate,
    recipe_noise,
    squared_norm,
)
from ibrobust.models.bottleneck import Encoding
from ibrobust.models.noise import LEARNED, LN_2PIE, NO_NOISE, ZERO_ENTROPY, ZERO_ENTROPY_STD, LatentNoise
from ibrobust.recipe import make_recipe


def latents(samples: int, dimensions: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, dimensions, generator=generator) @ torch.randn(
        dimensions, dimensions, generator=generator
    )


def test_formulas_on_numbers_done_by_hand() -> None:
    z = torch.tensor([[1.0, 2.0], [3.0, -2.0]])
    y = torch.tensor([0, 0])
    assert squared_norm(z).item() == pytest.approx((5 + 13) / 2)
    assert log_squared_norm(z).item() == pytest.approx(2 / 2 * math.log(2 * math.pi * math.e / 2 * 9))
    # Var = 2 and 8 with the divisor N − 1.
    by_hand = 0.5 * math.log(2 * math.pi * math.e * 2) + 0.5 * math.log(2 * math.pi * math.e * 8)
    assert log_variance(z).item() == pytest.approx(by_hand)
    assert conditional_log_variance(z, y).item() == pytest.approx(by_hand)
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    assert decoder_cross_entropy(logits[None], torch.tensor([1, 0])).item() == pytest.approx(
        (math.log(4 / 3) + math.log(2)) / 2
    )


def test_conditional_log_variance_is_the_weighted_mean_of_each_class_on_its_own() -> None:
    z = latents(30, 4)
    y = torch.tensor([0] * 5 + [2] * 10 + [3] * 15)[torch.randperm(30, generator=torch.Generator().manual_seed(1))]
    by_class = sum((y == label).sum() / 30 * log_variance(z[y == label]) for label in (0, 2, 3))
    torch.testing.assert_close(conditional_log_variance(z, y), by_class)


def test_a_class_with_one_sample_is_left_out_and_the_rest_reweighted() -> None:
    z, y = latents(9, 3), torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 5])
    kept = y < 2
    torch.testing.assert_close(conditional_log_variance(z, y), conditional_log_variance(z[kept], y[kept]))
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(conditional_log_variance(z, y), z)
    assert gradient.isfinite().all()
    assert (gradient[~kept] == 0).all()
    assert (gradient[kept] != 0).all()


def test_two_samples_that_coincide_by_rounding_end_no_training() -> None:
    """float32 numbers of a size of one are 1e-7 apart: two noisy samples of a class coincide once in some 1e7 draws,
    which is one training of many. Where no noise was added, equal samples are a collapse, and its entropy is −∞."""
    z, y = latents(6, 3), torch.tensor([0, 0, 1, 1, 1, 1])
    z[1, 2] = z[0, 2]
    z.requires_grad_()
    assert conditional_log_variance(z, y) == -math.inf == conditional_log_variance(z, y, torch.zeros_like(z))
    value = conditional_log_variance(z, y, torch.ones_like(z))
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient.isfinite().all()
    assert (gradient[:2, 2] == 0).all()
    apart = z.detach().clone()
    apart[1, 2] = torch.nextafter(apart[0, 2], torch.tensor(math.inf))
    least = apart[:2, 2].var().log().item()
    assert value.item() <= conditional_log_variance(apart, y).item()
    # One dimension of the class that holds a third of the samples: half of its logarithm counts.
    others = conditional_log_variance(z[:, :2], y).item() + conditional_log_variance(z[2:, 2:], y[2:]).item() * 2 / 3
    assert value.item() == pytest.approx(others + (LN_2PIE + least) / 6, abs=1.5 / 6)
    with_noise = torch.tensor([[0.0, 0.0, 1.0]] * 6)
    assert conditional_log_variance(z, y, with_noise) == value
    both = torch.full((2, 1), 0.5)
    assert log_variance(both) == -math.inf < log_variance(both, torch.ones(2, 1))


@given(seed=st.integers(0, 999))
def test_noise_changes_no_variance_that_is_there(seed: int) -> None:
    z, y = latents(12, 3, seed), torch.arange(12) % 3
    for entropy in (log_variance, lambda z, std=None: conditional_log_variance(z, y, std)):
        assert torch.equal(entropy(z), entropy(z, torch.ones_like(z)))


def test_a_batch_without_any_pair_says_nothing() -> None:
    z = latents(3, 2).requires_grad_()
    value = conditional_log_variance(z, torch.tensor([2, 0, 1]))
    (gradient,) = torch.autograd.grad(value, z)
    assert value.item() == 0
    assert (gradient == 0).all()


@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10), seed=st.integers(0, 99))
def test_log_variances_scale_like_entropies_and_ignore_shifts(scale: float, shift: float, seed: int) -> None:
    z, y = latents(12, 3, seed).double(), torch.arange(12) % 3
    for entropy in (log_variance, lambda z: conditional_log_variance(z, y)):
        expected = entropy(z) + 3 * math.log(scale)
        torch.testing.assert_close(entropy(scale * z + shift), expected, rtol=1e-6, atol=1e-6)


@given(seed=st.integers(0, 999))
def test_the_bounds_are_ordered(seed: int) -> None:
    # log-l2 ≥ logvar ≥ ½ ln det(2πe Cov), the entropy of the Gaussian with that covariance, with one divisor for all.
    z = latents(64, 5, seed).double()
    log_determinant = 0.5 * torch.logdet(2 * math.pi * math.e * torch.cov(z.T))
    assert log_squared_norm(z * math.sqrt(64 / 63)) >= log_variance(z) - 1e-9
    assert log_variance(z) >= log_determinant - 1e-9


def test_log_variance_of_a_gaussian_is_its_entropy() -> None:
    std = torch.tensor([0.1, 1.0, 3.0])
    z = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0)) * std
    truth = (0.5 * LN_2PIE + torch.log(std)).sum().item()
    # The standard error of ½ ln of a sample variance is 1/√(2N) = 0.0016 per dimension.
    assert log_variance(z).item() == pytest.approx(truth, abs=4 * 3**0.5 * 0.0016)


def test_zero_entropy_noise_has_no_entropy() -> None:
    assert 0.5 * LN_2PIE + math.log(ZERO_ENTROPY_STD) == pytest.approx(0, abs=1e-12)


def test_rate_is_the_divergence_that_torch_computes() -> None:
    mean, std = latents(7, 4), latents(7, 4, seed=1).abs() + 0.1
    unit = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    divergence = torch.distributions.kl_divergence(torch.distributions.Normal(mean, std), unit)
    torch.testing.assert_close(rate(Encoding(mean, std, mean)), divergence.sum(1).mean())


@given(std=st.floats(0.05, 5), seed=st.integers(0, 99))
def test_dvibs_rate_with_constant_variance_is_half_the_l2_term_and_a_constant(std: float, seed: int) -> None:
    # §F.3, the factor 2: E‖Z‖² = E‖mean‖² + K σ², so the rate is ½ E‖Z‖² − K/2 − K ln σ and both have one gradient.
    mean = latents(8, 3, seed).double().requires_grad_()
    encoding = Encoding(mean, torch.full_like(mean, std), mean)
    expected_squared_norm = mean.square().sum(1).mean() + 3 * std**2
    torch.testing.assert_close(rate(encoding), 0.5 * expected_squared_norm - 1.5 - 3 * math.log(std))
    (of_rate,) = torch.autograd.grad(rate(encoding), mean)
    (of_norm,) = torch.autograd.grad(0.5 * squared_norm(mean), mean)
    torch.testing.assert_close(of_rate, of_norm)


def test_weight_decay_counts_weights_and_not_biases() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
    encoding = Encoding(*torch.zeros(3, 1, 1))
    assert REGULARIZERS["weight-decay"].term(encoding, torch.zeros(1, dtype=torch.int64), model).item() == 4 * 9


@pytest.mark.parametrize("name", sorted(REGULARIZERS))
def test_every_regulariser_is_a_finite_scalar(name: str) -> None:
    learned = REGULARIZERS[name].module
    model = learned(4, 3) if learned else nn.Linear(4, 3)
    z = latents(6, 4).requires_grad_()
    encoding = Encoding(z, torch.ones_like(z), z)
    if REGULARIZERS[name].noise == "learned":
        encoding = Encoding(z, torch.full_like(z, 0.5), z)
    value = REGULARIZERS[name].term(encoding, torch.tensor([0, 0, 1, 1, 2, 2]), model)
    assert value.shape == ()
    assert value.isfinite()


def test_noise_by_name_or_number() -> None:
    assert recipe_noise(make_recipe({})) == ZERO_ENTROPY
    assert recipe_noise(make_recipe({"reg": "dvib"})) == LEARNED
    assert recipe_noise(make_recipe({"noise": "none"})) == NO_NOISE
    assert recipe_noise(make_recipe({"noise": "0.25"})) == LatentNoise(0.25)


@pytest.mark.parametrize("noise", ["loud", "-1", "nan", "inf"])
def test_unknown_noise_lists_the_choices(noise: str) -> None:
    with pytest.raises(BadInput, match=r"noise '.*'; choose from auto, zero-entropy, none, learned"):
        recipe_noise(make_recipe({"noise": noise}))


@pytest.mark.parametrize("reg", ["dvib", "ceb"])
def test_a_rate_needs_noise(reg: str) -> None:
    with pytest.raises(BadInput, match="infinite without noise"):
        recipe_noise(make_recipe({"reg": reg, "noise": "none"}))


def test_cebs_rate_is_the_divergence_from_the_classs_own_gaussian() -> None:
    means = ClassMeans(4, 3)
    with torch.no_grad():
        means.means.copy_(latents(3, 4, seed=2))
    mean, y = latents(7, 4), torch.arange(7) % 3
    unit = Encoding(mean, torch.ones_like(mean), mean)
    torch.testing.assert_close(conditional_rate(unit, y, means), 0.5 * (mean - means.means[y]).square().sum(1).mean())
    std = latents(7, 4, seed=1).abs() + 0.1
    reverse = torch.distributions.Normal(means.means[y], torch.ones(7, 4))
    divergence = torch.distributions.kl_divergence(torch.distributions.Normal(mean, std), reverse).sum(1).mean()
    torch.testing.assert_close(conditional_rate(Encoding(mean, std, mean), y, means), divergence)


def test_cebs_rate_with_the_best_means_is_the_variance_within_classes() -> None:
    # Its minimum over μ_y is ½ Σ_i Var[mean_i | y] averaged over y: what cond-logvar takes from the batch, CEB learns.
    means, mean, y = ClassMeans(3, 2), latents(10, 3), torch.arange(10) % 2
    optimizer = torch.optim.LBFGS(means.parameters())
    encoding = Encoding(mean, torch.ones_like(mean), mean)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = conditional_rate(encoding, y, means)
        value.backward()
        return value

    optimizer.step(loss)
    within = sum(mean[y == label].var(0, correction=0).sum() / 2 for label in (0, 1))
    torch.testing.assert_close(loss().detach(), 0.5 * within, rtol=1e-4, atol=0)


def test_cross_entropies_of_samples_by_hand() -> None:
    probability = torch.tensor([[[0.5, 0.5]], [[0.9, 0.1]]])
    y = torch.tensor([1])
    by_hand = (-math.log(0.5) - math.log(0.1)) / 2
    assert decoder_cross_entropy(probability.log(), y).item() == pytest.approx(by_hand)
    assert prediction_cross_entropy(probability.log(), y).item() == pytest.approx(-math.log(0.3))


@given(seed=st.integers(0, 999), samples=st.integers(1, 5))
def test_the_prediction_cross_entropy_is_never_above_the_decoders(seed: int, samples: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(samples, 6, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (6,), generator=generator)
    gap = decoder_cross_entropy(logits, y) - prediction_cross_entropy(logits, y)
    assert gap >= -1e-12
    assert (gap <= 1e-12) == (samples == 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latent_kind": "categorical", "noise": "none"}, "its noise is the choice"),
        ({"latent_kind": "categorical", "latent_samples": 2}, "sums over a categorical latent are exact"),
        ({"latent_kind": "categorical", "shrink_latent": 0.5}, "needs a continuous latent"),
        ({"latent_kind": "discrete"}, "choose from continuous, categorical"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_choices_that_do_not_go_together_are_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput) as error:
        make_recipe(changes)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"likelihood": "uncertainty"}, "^likelihood 'uncertainty' needs latent_kind 'categorical'$"),
        (
            {"latent_kind": "categorical", "reg": "l2"},
            "^reg 'l2' does not go with a categorical latent; choose none or weight-decay$",
        ),
    ],
)
def test_terms_that_do_not_go_with_the_latent_are_refused_by_what_their_entries_say(changes, words) -> None:
    recipe = make_recipe(changes)
    for builder in (lambda: objective(recipe, 10), lambda: recipe_model(recipe, (1, 8, 8), 10)):
        with pytest.raises(BadInput, match=words):
            builder()


def test_an_unknown_likelihood_lists_the_choices() -> None:
    with pytest.raises(BadInput, match="no likelihood 'perfect'; choose from decoder, prediction, uncertainty"):
        objective(make_recipe({"likelihood": "perfect"}), 10)


def test_ceb_brings_unit_noise() -> None:
    assert recipe_noise(make_recipe({"reg": "ceb"})) == LatentNoise(1.0)
    assert recipe_noise(make_recipe({"latent_kind": "categorical"})) == NO_NOISE
    assert noise_name(make_recipe({"latent_kind": "categorical"})) == "categorical"
