"""Noise of any law: what is known about it is exact, and of what is not known nothing is said as if it were."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ibrobust.commands import train as train_command
from ibrobust.datasets import Split, load_dataset
from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.encoder_bounds import preserved_information_bounds
from ibrobust.entropies.measurement import measured
from ibrobust.entropies.quantities import summary
from ibrobust.errors import BadInput
from ibrobust.learning.objectives import objective, recipe_noise
from ibrobust.learning.training import train
from ibrobust.models import architecture, build_model
from ibrobust.models.bottleneck import Bottleneck, Encoding
from ibrobust.models.noise import (
    GAUSSIAN,
    LATENT_NOISES,
    LEARNED,
    LN_2PIE,
    NO_NOISE,
    ZERO_ENTROPY,
    ZERO_ENTROPY_STD,
    LatentNoise,
    Law,
    latent_noise,
)
from ibrobust.randomness import Noise, sample_draw
from ibrobust.recipe import make_recipe
from ibrobust.subjects.zoo import find_runs, load_run, released_zoo

ROOT_3, ROOT_12 = math.sqrt(3), math.sqrt(12)


def _uniform_density(deviation: Tensor) -> Tensor:
    return torch.where(deviation.abs() <= ROOT_3, -math.log(ROOT_12), -math.inf).to(deviation.dtype)


def _laplace_sample(noise: Noise, dims: int) -> Tensor:
    u = noise.uniform(dims) - 0.5
    return -u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.4999999)) / math.sqrt(2)


UNIFORM = Law("uniform", lambda noise, dims: ROOT_12 * (noise.uniform(dims) - 0.5), math.log(ROOT_12), _uniform_density)
LAPLACE = Law(
    "laplace",
    _laplace_sample,
    1 + math.log(math.sqrt(2)),
    lambda deviation: -math.sqrt(2) * deviation.abs() - math.log(math.sqrt(2)),
)
UNKNOWN = Law("somebody's", UNIFORM.sample)
LAWS = [UNIFORM, LAPLACE]


def named(law: Law) -> str:
    return law.name


@pytest.fixture(scope="module")
def split() -> Split:
    return load_dataset("digits").test[:200]


def model(noise: LatentNoise, name: str = "mlp") -> Bottleneck:
    return build_model(architecture(name), shape=(1, 8, 8), classes=10, latent=6, noise=noise)


@pytest.mark.parametrize("law", [*LAWS, GAUSSIAN], ids=named)
def test_a_law_has_the_moments_the_entropy_and_the_density_that_it_says(law: Law) -> None:
    drawn = law.sample(sample_draw(0, torch.arange(100_000)), 2).double()
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)
    assert drawn.var().item() == pytest.approx(1, abs=0.02)
    assert -law.log_density(drawn).mean().item() == pytest.approx(law.entropy, abs=0.01)
    grid = torch.linspace(-40, 40, 800_001, dtype=torch.float64)
    assert torch.trapezoid(law.log_density(grid).exp(), grid).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("std", [ZERO_ENTROPY_STD, 1.0, None])
@pytest.mark.parametrize("law", [*LAWS, GAUSSIAN], ids=named)
def test_the_entropy_given_the_input_is_that_of_the_law(law: Law, std: float | None, split: Split) -> None:
    noisy = model(LatentNoise(std, law))
    rows = dict(measured(noisy, split, how=Neighbours(repeats=2)).rows)
    with torch.no_grad():
        _, stds = noisy.distribution(split.x)
    # Uniform: ln of the width √12 σ; Laplace: 1 + ln 2b with b = σ/√2; Gaussian: ½ ln 2πeσ².
    one = {
        "uniform": (ROOT_12 * stds.double()).log(),
        "laplace": 1 + (math.sqrt(2) * stds.double()).log(),
        "gaussian": 0.5 * (2 * math.pi * math.e * stds.double().square()).log(),
    }[law.name]
    expected = one.sum(1).mean().item()
    given = rows["encoding_entropy_given_input"]
    assert given.estimator == "closed-form"
    assert (given.nats, given.low, given.high) == pytest.approx([expected] * 3, abs=1e-5)
    assert rows["preserved_information"].nats == pytest.approx(rows["encoding_entropy"].nats - given.nats, abs=1e-9)
    assert summary(noisy, split.x, split.y)["encoding_entropy_given_input"] == pytest.approx(expected, abs=1e-5)


def test_noise_as_wide_as_zero_entropy_noise_has_an_entropy_of_zero_only_if_it_is_gaussian(split: Split) -> None:
    """The truth for uniform noise with that deviation is −1.06 nats in 6 dimensions, and 0 where it is 1 wide."""
    nats = []
    for std in (ZERO_ENTROPY_STD, 1 / ROOT_12):
        rows = dict(measured(model(LatentNoise(std, UNIFORM)), split, how=Neighbours(repeats=2)).rows)
        nats.append(rows["encoding_entropy_given_input"].nats)
    assert nats == pytest.approx([-3 * math.log(2 * math.pi * math.e / 12), 0.0], abs=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=named)
def test_bounds_use_the_density_of_the_law(law: Law) -> None:
    """Beside torch's own distributions, pair by pair."""
    mean = 0.3 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    std = torch.full_like(mean, 0.7)
    z = mean + std * law.sample(sample_draw(1, torch.arange(40)), 2)
    reach = 0.7 * ROOT_3
    of = {
        "uniform": lambda at: torch.distributions.Uniform(at - reach, at + reach, validate_args=False),
        "laplace": lambda at: torch.distributions.Laplace(at, 0.7 / math.sqrt(2)),
    }[law.name]
    density = torch.stack([of(mean[j]).log_prob(z).sum(dim=1) for j in range(40)], dim=1).exp()
    own = density.diagonal()
    others = (density.sum(dim=1) - own) / 39
    assert others.min() > 0
    lower, upper = preserved_information_bounds(Encoding(mean, std, z), LatentNoise(0.7, law))
    assert lower.nats == pytest.approx((own / density.mean(dim=1)).log().mean().item(), abs=1e-6)
    assert upper.nats == pytest.approx((own / others).log().mean().item(), abs=1e-6)


def test_uniform_noise_that_never_overlaps_keeps_everything() -> None:
    mean = 10.0 * torch.arange(50, dtype=torch.float64)[:, None]
    z = mean + UNIFORM.sample(sample_draw(0, torch.arange(50)), 1)
    lower, upper = preserved_information_bounds(Encoding(mean, torch.ones_like(mean), z), LatentNoise(1.0, UNIFORM))
    assert (lower.nats, lower.error) == pytest.approx((math.log(50), 0.0), abs=1e-9)
    assert upper.upper == math.inf


@pytest.mark.parametrize("std", [ZERO_ENTROPY_STD, None])
def test_of_an_unknown_law_nothing_is_exact(std: float | None, split: Split) -> None:
    noisy = model(LatentNoise(std, UNKNOWN))
    measurement = measured(noisy, split, how=Neighbours(repeats=2))
    rows = dict(measurement.rows)
    given = rows["encoding_entropy_given_input"]
    assert math.isnan(given.nats)
    assert given.estimator == "not computable"
    with torch.no_grad():
        _, stds = noisy.distribution(split.x)
    truth = (ROOT_12 * stds.double()).log().sum(1).mean().item()
    gaussian = (LN_2PIE / 2 + stds.double().log()).sum(1).mean().item()
    assert given.low <= truth <= given.high <= gaussian + 1e-6
    assert not {"preserved_information", "redundant_information"} & set(rows)
    assert any('entropy of noise of law "somebody\'s" is not known' in sentence for sentence in measurement.warnings)
    assert rows["encoding_entropy"].low == -math.inf
    assert math.isfinite(rows["encoding_entropy"].high)
    assert not {"encoding_entropy_given_input", "preserved_information"} & set(summary(noisy, split.x, split.y))


def test_dropout_beside_another_law_leaves_bounds(split: Split) -> None:
    rows = dict(measured(model(LatentNoise(1.0, UNIFORM), "dropout-cnn"), split, how=Neighbours(repeats=2)).rows)
    given = rows["encoding_entropy_given_input"]
    assert math.isnan(given.nats)
    assert given.low == pytest.approx(6 * math.log(ROOT_12), abs=1e-9)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, law in (("uniform", UNIFORM), ("laplace", LAPLACE), ("somebodys", UNKNOWN)):
        monkeypatch.setitem(LATENT_NOISES, name, LatentNoise(0.5, law))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("reg", ["l2", "dvib"])
def test_a_registered_law_is_trained_with(reg: str) -> None:
    recipe = make_recipe({"noise": "uniform", "reg": reg, "epochs": 1, "latent": 4})
    trained = train(recipe, load_dataset("digits")).model
    x = load_dataset("digits").test.x[:300]
    encoding = trained.encode(x, sample_draw(0, torch.arange(300)))
    furthest = (encoding.z - encoding.mean).abs().max().item()
    assert 0.5 * ROOT_3 - 0.02 < furthest <= 0.5 * ROOT_3 + 1e-4


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("name", "minus_entropy"), [("uniform", -math.log(ROOT_3)), ("laplace", -1 - math.log(math.sqrt(2) / 2))]
)
def test_a_rate_is_exact_for_the_law(name: str, minus_entropy: float) -> None:
    """KL(p ‖ N(0, 1)) = −H[p] + ½ ln 2π + ½ (mean² + σ²) in each dimension; σ = ½ here."""
    recipe = make_recipe({"reg": "dvib", "gamma": 1.0, "noise": name, "latent": 3})
    mean = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    encoding = Encoding(mean, torch.full_like(mean, 0.5), mean)
    penalty = objective(recipe, 10)._penalty(encoding, torch.zeros(20, dtype=torch.int64), torch.nn.Identity())
    square = mean.double().square().sum(1).mean().item()
    assert penalty.item() == pytest.approx(
        3 * (minus_entropy + math.log(2 * math.pi) / 2 + 0.125) + square / 2, abs=1e-5
    )


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("reg", ["dvib", "ceb"])
def test_a_rate_needs_an_entropy(reg: str) -> None:
    with pytest.raises(BadInput, match=f"the rate of '{reg}' needs a noise whose entropy is known"):
        recipe_noise(make_recipe({"reg": reg, "noise": "somebodys"}))


def test_a_saved_run_has_its_law_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LATENT_NOISES, "laplace", LatentNoise(0.5, LAPLACE))
    train_command.main(["--noise", "laplace", "--epochs", "1", "--latent", "4", "--runs", str(tmp_path)])
    (run,) = find_runs([tmp_path])
    assert (run.card.noise, run.card.noise_std) == ("laplace", 0.5)
    assert run.model().noise is LATENT_NOISES["laplace"]
    given = run.card.metrics["test"]["encoding_entropy_given_input"]
    assert given == pytest.approx(4 * (1 + math.log(0.5 * math.sqrt(2))), abs=1e-9)
    monkeypatch.delitem(LATENT_NOISES, "laplace")
    with pytest.raises(BadInput, match="noise 'laplace'; choose from auto, zero-entropy, none, learned or"):
        load_run(run.folder)


@pytest.mark.parametrize("noise", ["zero-entropy", "none", "learned"])
def test_released_runs_have_the_noise_of_their_cards(noise: str, tmp_path: Path) -> None:
    cards = sorted(released_zoo().glob("runs/*/card.json"))
    run = next(run for run in (load_run(card.parent) for card in cards) if run.card.noise == noise)
    assert run.model().noise == {"zero-entropy": ZERO_ENTROPY, "none": NO_NOISE, "learned": LEARNED}[noise]
    (tmp_path / "card.json").write_text(run.card.model_copy(update={"noise_std": 0.75}).model_dump_json())
    with pytest.raises(BadInput, match=f"noise_std = 0.75, but the recipe's noise is '{noise}', whose own is"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["loud", "-1", "nan", "inf", ""])
def test_unknown_noise_is_named(name: str) -> None:
    with pytest.raises(BadInput, match="choose from auto, zero-entropy, none, learned or a standard deviation"):
        latent_noise(name)


def test_an_entropy_above_the_gaussians_is_refused() -> None:
    with pytest.raises(BadInput, match=r"entropy 2 of law 'much': with variance 1 it is at most 1.41894 nats"):
        Law("much", UNIFORM.sample, 2.0)
