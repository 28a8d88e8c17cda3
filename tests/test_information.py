"""Quantities of models against closed forms and the paper's identities."""

import math

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from ibrobust.datasets import Dataset, Split, load_dataset
from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.decoder_retraining import retrained_decoder
from ibrobust.entropies.encoder_bounds import preserved_information_bounds, redundant_information_bounds
from ibrobust.entropies.measurement import Measurement, measured, views_of, with_retrained_decoder
from ibrobust.entropies.table import information_rows, information_text
from ibrobust.entropies.trajectory import Trajectory
from ibrobust.errors import BadInput
from ibrobust.learning.training import train
from ibrobust.models import architecture, build_model
from ibrobust.models.bottleneck import Bottleneck, Encoding
from ibrobust.models.noise import LEARNED, NO_NOISE, ZERO_ENTROPY
from ibrobust.recipe import make_recipe
from tests.oracles_entropy import identities

Quantities = dict[str, float]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def split(digits: Dataset) -> Split:
    return digits.test[:300]


def model(name: str = "mlp", **settings) -> Bottleneck:
    return build_model(
        architecture(name), **{"shape": (1, 8, 8), "classes": 10, "latent": 4, "noise": ZERO_ENTROPY, **settings}
    )


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> Bottleneck:
    return train(make_recipe({"reg": "l2", "gamma": 0.01, "epochs": 3, "latent": 4}), digits).model


def family(measurement: Measurement, estimator: str) -> Quantities:
    """Nats by quantity of one estimator, with the rows that need no estimate."""
    kept = (estimator, "exact", "closed-form")
    return {name: row.nats for name, row in measurement.rows if row.estimator in kept}


# Bounds that need no density estimate --------------------------------------------------------------------------------


def gaussian_channel(count: int, dims: int, signal: float, noise: float) -> tuple[Encoding, float]:
    """Z = X + noise with both Gaussian, and I[X;Z] = dims/2 ln(1 + signal²/noise²)."""
    x, epsilon = torch.randn(2, count, dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = signal * x
    encoding = Encoding(mean, torch.full_like(mean, noise), mean + noise * epsilon)
    return encoding, dims / 2 * math.log(1 + signal**2 / noise**2)


@pytest.mark.parametrize(("dims", "signal"), [(1, 1.0), (3, 1.0), (2, 3.0)])
def test_bounds_hold_the_information_of_a_gaussian_channel(dims: int, signal: float) -> None:
    encoding, information = gaussian_channel(3000, dims, signal, 1.0)
    low, high = (bound.nats for bound in preserved_information_bounds(encoding))
    # Both are means over 3000 samples, with a standard deviation of about sqrt(dims/2): 0.02 nats.
    assert low - 0.06 <= information <= high + 0.06
    assert high - low < 0.06


def test_lower_bound_cannot_exceed_ln_n_and_the_upper_one_can() -> None:
    encoding, information = gaussian_channel(200, 8, 100.0, 1.0)
    low, high = (bound.nats for bound in preserved_information_bounds(encoding))
    assert low == pytest.approx(math.log(200), abs=1e-6)
    assert high > information > low


def test_bounds_agree_with_densities_written_out() -> None:
    """A standard deviation for each sample and dimension, as an encoder that learns its noise has."""
    mean, std, noise = torch.randn(3, 40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    std = 0.3 + std.abs()
    encoding = Encoding(mean, std, mean + std * noise)
    density = torch.stack(
        [torch.distributions.Normal(mean[j], std[j]).log_prob(encoding.z).sum(dim=1) for j in range(40)], dim=1
    ).exp()
    own = density.diagonal().log()
    others = (density.sum(dim=1) - density.diagonal()) / 39
    expected = ((own - density.mean(dim=1).log()).mean().item(), (own - others.log()).mean().item())
    found = [bound.nats for bound in preserved_information_bounds(encoding)]
    assert found == pytest.approx(expected, abs=1e-9)


def test_redundant_information_is_bounded_within_classes() -> None:
    encoding, _ = gaussian_channel(90, 2, 1.0, 1.0)
    y = torch.arange(90) % 3 // 2
    parts = [Encoding(*(tensor[y == label] for tensor in encoding)) for label in (0, 1)]
    pairs = zip(*map(preserved_information_bounds, parts), strict=True)
    expected = [2 / 3 * a.nats + 1 / 3 * b.nats for a, b in pairs]
    found = [bound.nats for bound in redundant_information_bounds(encoding, y)]
    assert found == pytest.approx(expected, abs=1e-12)


# Models --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["knn-l2", "decoder"])
def test_rows_of_one_estimator_fit_together(trained: Bottleneck, split: Split, estimator: str) -> None:
    quantities = family(measured(trained, split, how=Neighbours(repeats=2)), estimator)
    checked = identities({"label_entropy_given_input": 0.0, **quantities})
    assert set(checked) >= ({17, 22} if estimator == "decoder" else {17, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29})
    for number, (left, right) in checked.items():
        assert left == pytest.approx(right, abs=1e-9), f"equation {number}"


def test_reported_rows_fit_together(trained: Bottleneck, split: Split) -> None:
    """After the rounding of the file."""
    text = information_text(information_rows(measured(trained, split, how=Neighbours(repeats=2)), run="r"))
    rows = text[text["estimator"].isin(["knn-l2", "closed-form", "exact"])]
    quantities = dict(zip(rows["quantity"], rows["nats"].astype(float), strict=True))
    for number, (left, right) in identities({"label_entropy_given_input": 0.0, **quantities}).items():
        assert left == pytest.approx(right, abs=1e-4), f"equation {number}"


def test_zero_entropy_noise_makes_the_encoding_entropy_the_preserved_information(
    trained: Bottleneck, split: Split
) -> None:
    quantities = family(measured(trained, split, how=Neighbours(repeats=2)), "knn-l2")
    assert quantities["encoding_entropy_given_input"] == pytest.approx(0, abs=1e-12)
    assert quantities["preserved_information"] == pytest.approx(quantities["encoding_entropy"], abs=1e-12)


def test_cross_entropy_is_the_log_loss_of_the_same_latents(trained: Bottleneck, split: Split) -> None:
    measurement = measured(trained, split, view="mean")
    with torch.no_grad():
        logits = trained(split.x)
    expected = nn.functional.cross_entropy(logits, split.y).item()
    assert family(measurement, "decoder")["decoder_cross_entropy"] == pytest.approx(expected, abs=1e-6)
    assert measurement.error == (logits.argmax(1) != split.y).double().mean().item()


def test_prediction_cross_entropy_lies_below_the_decoders(trained: Bottleneck, split: Split) -> None:
    """Jensen, sample by sample; both from the same samples of the noise."""
    rows = family(measured(trained, split, view="averaged:8"), "decoder")
    assert rows["prediction_cross_entropy"] < rows["decoder_cross_entropy"]
    one = family(measured(trained, split, view="averaged:1"), "decoder")
    assert one["prediction_cross_entropy"] == pytest.approx(one["decoder_cross_entropy"], abs=1e-12)


def test_learned_noise_has_the_closed_form_entropy(split: Split) -> None:
    learned = model(noise=LEARNED)
    rows = family(measured(learned, split, how=Neighbours(repeats=2)), "knn-l2")
    with torch.no_grad():
        _, std = learned.distribution(split.x)
    expected = torch.distributions.Normal(0.0, std.double()).entropy().sum(dim=1).mean().item()
    assert rows["encoding_entropy_given_input"] == pytest.approx(expected, abs=1e-5)
    assert rows["preserved_information"] == pytest.approx(rows["encoding_entropy"] - expected, abs=1e-5)


def test_what_dropout_makes_impossible_is_said(split: Split) -> None:
    """H[Z|X] of a dropout encoder has no closed form: bounds, no number."""
    rows = dict(measured(model("dropout-cnn", shape=(1, 8, 8)), split, how=Neighbours(repeats=2)).rows)
    entropy = rows["encoding_entropy"]
    assert math.isfinite(entropy.nats)
    for name in ("encoding_entropy_given_input", "preserved_information", "redundant_information"):
        assert math.isnan(rows[name].nats)
        assert rows[name].estimator == "not computable"
    assert rows["encoding_entropy_given_input"].low == pytest.approx(0, abs=1e-12)
    assert rows["preserved_information"].high == pytest.approx(entropy.high, abs=1e-12)


def test_without_noise_only_what_is_finite_is_reported(split: Split) -> None:
    plain = model(noise=NO_NOISE)
    assert views_of(plain, 12) == ["mean"]
    rows = dict(measured(plain, split, view="mean", how=Neighbours(repeats=2)).rows)
    assert "preserved_information" not in rows
    assert rows["encoding_entropy"].low == -math.inf
    with pytest.raises(BadInput, match="no noise view 'fresh' of this model; choose from mean"):
        measured(plain, split, view="fresh")


def test_a_categorical_latent_is_exact(split: Split) -> None:
    categorical = model(latent=6, noise=NO_NOISE, decoder="network")
    rows = dict(measured(categorical, split, view="mean").rows)
    quantities = {name: row.nats for name, row in rows.items()}
    assert {row.estimator for row in rows.values()} == {"exact"}
    for number, (left, right) in identities(quantities).items():
        assert left == pytest.approx(right, abs=1e-9), f"equation {number}"
    assert quantities["decoder_uncertainty"] <= quantities["decoder_cross_entropy"]
    assert quantities["prediction_cross_entropy"] <= quantities["decoder_cross_entropy"] + 1e-12


def test_the_same_seed_gives_the_same_rows(trained: Bottleneck, split: Split) -> None:
    first, second = (measured(trained, split, how=Neighbours(repeats=2, seed=5)) for _ in range(2))
    assert first.rows == second.rows
    assert measured(trained, split, how=Neighbours(repeats=2, seed=6)).rows != first.rows


@pytest.mark.parametrize("view", ["averaged:0", "averaged:x", "loud"])
def test_unknown_views_are_refused(trained: Bottleneck, split: Split, view: str) -> None:
    with pytest.raises(BadInput, match=f"no noise view '{view}'"):
        measured(trained, split, view=view)


def test_the_error_bound_holds_for_drawn_predictions_and_is_said_to_fail_for_others(split: Split) -> None:
    """A model that gives every true class 0.49 and a wrong one 0.51: always wrong, its bound 0.51."""
    plain = model(noise=NO_NOISE)
    logits = torch.full((300, 10), -40.0)
    logits[torch.arange(300), split.y] = math.log(0.49)
    logits[torch.arange(300), (split.y + 1) % 10] = math.log(0.51)
    plain.encoder, plain.decoder = nn.Identity(), _Answer(logits)
    plain.distribution = lambda x: (x.flatten(1), torch.zeros(len(x), 64))  # type: ignore[method-assign]
    measurement = measured(plain, split, view="mean", ks=[])
    assert measurement.error == 1
    assert measurement.error_bound == pytest.approx(0.51, abs=1e-6)
    said = "error 1 exceeds 1 − exp(−Hθ[Y|Z]) = 0.51: eq. 10 holds for classes drawn"
    assert any(said in sentence for sentence in measurement.warnings)
    drawn_wrong = 1 - logits.softmax(dim=1)[torch.arange(300), split.y].mean().item()
    assert drawn_wrong <= measurement.error_bound + 1e-6


class _Answer(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, z: Tensor) -> Tensor:
        return self.logits


# Retraining the decoder ----------------------------------------------------------------------------------------------


def test_retrained_decoder_is_bayes_optimal_on_two_gaussians() -> None:
    """p(y|z) of N(±μ, σ²) has the logit difference 2 μ·z/σ²."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(40000) % 2
    centre = torch.tensor([0.8, -0.3])
    z = (2 * y[:, None] - 1) * centre + torch.randn(40000, 2, generator=generator)
    decoder = retrained_decoder(nn.Linear(2, 2), z, y)
    weight = decoder.weight[1] - decoder.weight[0]
    # One standard error of a weight is about 0.015 here.
    torch.testing.assert_close(weight.float(), 2 * centre, atol=0.06, rtol=0)
    probability = torch.sigmoid(2 * z.double() @ centre.double())
    bayes = nn.functional.binary_cross_entropy(probability, y.double())
    assert nn.functional.cross_entropy(decoder(z.double()), y) == pytest.approx(bayes.item(), abs=2e-4)


def test_retraining_tightens_the_bound(trained: Bottleneck, split: Split) -> None:
    before = trained.decoder.weight.detach().clone()
    rows = with_retrained_decoder(measured(trained, split, how=Neighbours(repeats=2)), trained, split).rows
    loss = {row.estimator: row.nats for name, row in rows if name == "decoder_cross_entropy"}
    assert loss["retrained decoder"] < loss["decoder"] - 0.05
    assert torch.equal(trained.decoder.weight, before)


# Trajectories --------------------------------------------------------------------------------------------------------


def test_tracking_measures_first_every_nth_and_last_epoch_and_changes_no_weight(digits: Dataset, split: Split) -> None:
    recipe = make_recipe({"reg": "l2", "epochs": 7, "latent": 4, "train_samples": 200})
    trajectory = Trajectory({"test": split}, every=3, epochs=7, run="r")
    watched = train(recipe, digits, observe=trajectory)
    assert list(trajectory.table["epoch"].unique()) == [1, 3, 6, 7]
    assert set(trajectory.table["view"]) == {"fresh"}
    alone = train(recipe, digits)
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(tensor, watched.model.state_dict()[name]), name
    pd.testing.assert_frame_equal(alone.history, watched.history)
    last = trajectory.table.query("epoch == 7 and quantity == 'encoding_entropy'")
    expected = dict(measured(alone.model, split, how=Neighbours(repeats=2)).rows)["encoding_entropy"]
    assert last["nats"].item() == expected.nats
