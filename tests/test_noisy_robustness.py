"""Noise by itself breaks nothing twice, an attack is judged on noise that it has not seen, and intervals hold."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ibrobust import breaking_radii, noisy_readings
from ibrobust.attacks import ATTACKS, NORMS, victim
from ibrobust.attacks.contract import Samples, breaking_distance, broken_at
from ibrobust.errors import BadInput
from ibrobust.models.bottleneck import Bottleneck, _seed_torch, view
from ibrobust.models.noise import LatentNoise
from ibrobust.models.stochastic import Dropout
from ibrobust.randomness import sample_draw
from ibrobust.robustness import noisy_readings as module
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.leaderboard import noise_table
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.statistics import wilson_interval
from ibrobust.robustness.storage import joined, load_results, save_results
from tests.cards import asked_otherwise

PIXELS = (1, 2, 2)


def normal_share(z: float) -> float:
    """Φ(z)."""
    return (1 + math.erf(z / 2**0.5)) / 2


class Brightness(nn.Module):
    """The mean pixel less ½, times a slope: the one feature, which moves by slope · ε within an L∞ ball."""

    def __init__(self, slope: float, offset: float = 0.0) -> None:
        super().__init__()
        self.slope, self.offset = slope, offset

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * (x.flatten(1).mean(1, keepdim=True) - 0.5) + self.offset


def bright_or_dark(*, slope: float = 1.0, offset: float = 0.0, noise_std: float = 0.1) -> Bottleneck:
    """Class 0 where the noisy feature is positive."""
    decoder = nn.Linear(1, 2, bias=False)
    decoder.weight.data = torch.tensor([[10.0], [-10.0]])
    pixel = {"pixel_mean": torch.zeros(1), "pixel_std": torch.ones(1)}
    encoder = Brightness(slope, offset)
    return Bottleneck(encoder, decoder, noise=LatentNoise(noise_std), **pixel)


def grey(count: int, level: float = 0.5) -> tuple[Tensor, Tensor]:
    return torch.full((count, *PIXELS), level), torch.zeros(count, dtype=torch.int64)


FLIPS = 0.02


@pytest.fixture(scope="module")
def indifferent() -> Bottleneck:
    """No attack can do anything to it, and its noise flips 2 % of the predictions."""
    return bright_or_dark(slope=0.0, offset=0.1 * 2.053749, noise_std=0.1)


def test_noise_alone_breaks_as_much_as_it_flips_whatever_the_number_of_attacks(indifferent):
    readings = noisy_readings(indifferent, *grey(1500), eps=[0.1], protocol="paper", health="ignore")
    null, everything = (readings.right_EN(attack, "fresh") for attack in ("null-attack", "all"))
    assert (null == everything).all()
    flips = wilson_interval((~everything).sum(), everything.size)
    assert flips.low <= FLIPS <= flips.high
    assert readings.right_EN("all", "mean").all()
    assert readings.right_EN("all", "averaged").all()


def test_scored_naively_four_attacks_count_the_noise_four_times(indifferent):
    x, y = grey(6000)
    draw = sample_draw(0, torch.arange(len(x)))
    broken = torch.zeros(len(x), dtype=torch.bool)
    for name in PROTOCOLS["paper"].attacks:
        stream = draw.fold(name)
        seen = victim(view(indifferent, "fresh"), stream, batch_size=512)
        samples, norm = Samples(seen, x, y, torch.arange(len(x)), stream), NORMS["linf"]
        if ATTACKS[name].minimal:
            broken |= breaking_distance(name, ATTACKS[name], samples, norm)[0] <= 0.1
        else:
            broken |= broken_at(name, ATTACKS[name], samples, torch.full((len(x),), 0.1), norm)[0]
    naive = wilson_interval(int(broken.sum()), len(x))
    assert naive.low <= 1 - (1 - FLIPS) ** 4 <= naive.high


@pytest.mark.parametrize(("eps", "reach"), [(0.1, 1.0), (0.35, -1.5)], ids=["before", "beyond"])
def test_the_interval_holds_the_known_robust_accuracy_as_often_as_it_says(eps, reach):
    """400 evaluations of 75 samples, and an attack that stopped on the boundary would leave half."""
    simulations, n = 400, 75
    readings = noisy_readings(
        bright_or_dark(), *grey(simulations * n, level=0.7), eps=[eps], attacks={"fgsm": ATTACKS["fgsm"]}
    )
    right = readings.right_EN("all", "fresh").reshape(simulations, n).sum(1)
    _, low, high = wilson_interval(right, n)
    known = normal_share(reach)
    assert 0.93 <= ((low <= known) & (known <= high)).mean() <= 0.97


def test_all_attacks_of_the_paper_together_have_the_known_accuracy():
    readings = noisy_readings(
        bright_or_dark(), *grey(1500, level=0.7), eps=[0.1, 0.35], protocol="paper", health="ignore"
    )
    for eps_index, reach in enumerate((1.0, -1.5)):
        right = readings.right_EN("all", "fresh")[eps_index]
        found = wilson_interval(right.sum(), right.size, level=0.999)
        assert found.low <= normal_share(reach) <= found.high
    table = noise_table([named(readings)])
    fresh = table.query("attack == 'null-attack' and reading == 'fresh' and eps < 0.2").iloc[0]
    assert fresh["low"] < normal_share(2.0) < fresh["high"]


def named(readings):
    return asked_otherwise(readings, model=ModelRecord(run="grey"), data=DataRecord(name="grey"))


def test_scores_and_choices_are_made_on_streams_of_their_own(monkeypatch):
    keys: dict[str, set[int]] = {}

    def noted(seen, draw, **settings):
        bound = victim(seen, draw, **settings)
        purpose = "attack" if settings.get("favoured") is not None else "judge"
        for asked in range(3):
            keys.setdefault(purpose, set()).update(draw.fold(torch.full((len(draw),), asked)).keys.tolist())
        return bound

    monkeypatch.setattr(module, "victim", noted)
    noisy_readings(bright_or_dark(), *grey(8, level=0.7), eps=[0.1], protocol="paper", health="ignore")
    assert len(keys["attack"]) == 3 * 8 * 4
    assert len(keys["judge"]) == 3 * 8 * 4, "clean, choice, spread and score"
    assert not keys["attack"] & keys["judge"]


def trained_on_nothing(*, noise_std: float = 0.3) -> tuple[Bottleneck, Tensor, Tensor]:
    """Latent noise and dropout; labels are what it predicts without."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), Dropout(0.2), nn.Linear(32, 8))
    pixel = {"pixel_mean": torch.zeros(1), "pixel_std": torch.ones(1)}
    model = Bottleneck(encoder, nn.Linear(8, 10), noise=LatentNoise(noise_std), **pixel)
    x = torch.rand(40, 1, 8, 8)
    with torch.no_grad():
        return model, x, model(x).argmax(1)


BRIEF = {"fgsm": {}, "deepfool": {"steps": 6}, "bim": {"steps": 4}}


def test_batches_order_and_shards_change_no_bit(few_draws):
    model, x, y = trained_on_nothing()
    x, y = x[:16], y[:16]
    settings = {"eps": [0.02], "attacks": {name: ATTACKS[name].with_settings(BRIEF[name]) for name in BRIEF}}
    whole = noisy_readings(model, x, y, batch_size=64, **settings)
    assert noisy_readings(model, x, y, batch_size=7, **settings).rows.equals(whole.rows)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    parts = [noisy_readings(model, x[ids], y[ids], ids=ids, **settings) for ids in (order[:6], order[6:])]
    assert joined(parts).rows.equals(whole.rows)
    assert joined(parts).card == whole.card
    assert not noisy_readings(model, x, y, seed=1, **settings).rows.equals(whole.rows)


def test_dropout_is_noise_as_the_latent_s_is():
    model, x, y = trained_on_nothing(noise_std=0.0)
    readings = noisy_readings(model, x, y, eps=[0.01], attacks={"fgsm": ATTACKS["fgsm"]})
    assert readings.right_EN("null-attack", "mean").all()
    assert not readings.right_EN("null-attack", "fresh").all()


def test_without_noise_the_counts_are_those_of_breaking_radii():
    model, x, y = trained_on_nothing(noise_std=0.0)
    model.encoder[3].rate = 0.0
    settings = {"eps": [0.0, 0.01, 0.03], "attacks": {"fgsm": ATTACKS["fgsm"], "pgd": ATTACKS["pgd"]}}
    readings = noisy_readings(model, x, y, **settings)
    plain = breaking_radii(model, x, y, **settings)
    for reading in readings.readings:
        assert (readings.right_EN("null-attack", reading)).all()
        np.testing.assert_allclose(readings.right_EN("all", reading).mean(1), plain.robust_EN.mean(1), atol=0.04)
    assert readings.clean == plain.clean == 1


class Shaky(nn.Module):
    """Somebody's model with noise of torch's own in its pixels."""

    def forward(self, x: Tensor) -> Tensor:
        feature = (x + 0.2 * torch.randn_like(x)).flatten(1).mean(1, keepdim=True) - 0.5
        return 10 * torch.cat([feature, -feature], dim=1)


def test_the_noise_of_a_foreign_model_is_repeated_by_the_seed_and_leaves_torch_alone(few_draws):
    state = torch.random.get_rng_state()
    readings = noisy_readings(Shaky(), *grey(250, level=0.7), eps=[0.1], protocol="paper", health="ignore")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert readings.readings == ["fresh", "averaged"]
    right = readings.right_EN("all", "fresh")
    found = wilson_interval(right.sum(), right.size, level=0.999)
    assert found.low <= normal_share(1.0) <= found.high
    assert noisy_readings(Shaky(), *grey(250, level=0.7), eps=[0.1], protocol="paper", health="ignore").rows.equals(
        readings.rows
    )


def test_a_foreign_models_noise_is_that_of_torchs_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = torch.rand(3)
        _seed_torch(5)
        assert torch.equal(torch.rand(3), expected)


def test_setting_the_seed_keeps_nothing_for_devices_that_are_not_there(monkeypatch):
    """`torch.manual_seed` keeps a traceback for each of them, every time, and takes milliseconds to format it."""

    def kept(_seed):
        pytest.fail("torch.manual_seed was called in a pass")

    monkeypatch.setattr(torch, "manual_seed", kept)
    x, _ = grey(2, level=0.7)
    view(Shaky(), "fresh")(x, sample_draw(0, torch.arange(2)))


def test_the_average_of_more_passes_is_surer():
    few, many = (
        noisy_readings(
            bright_or_dark(noise_std=0.4), *grey(300, 0.7), eps=[0.05], attacks=["fgsm"], health="ignore", view=view
        )
        for view in ("averaged:2", "averaged:32")
    )
    assert (few.reading, many.reading) == ("averaged", "averaged")
    assert few.clean < many.clean
    assert many.card.draws == 32


def test_saved_and_loaded_the_table_is_the_same(tmp_path):
    asked = {"eps": [0.1], "protocol": "paper", "health": "ignore"}
    readings = named(noisy_readings(bright_or_dark(), *grey(20, level=0.7), **asked))
    save_results(readings, tmp_path / "grey.parquet")
    again = load_results(tmp_path / "grey.parquet")
    assert type(again) is type(readings)
    assert again.rows.equals(readings.rows)
    assert again.curves().equals(readings.curves())
    assert "null-attack" in str(again)


@pytest.mark.parametrize("view", ["mean", "loud", "averaged:0"])
def test_refused(view):
    with pytest.raises(BadInput, match=f"'{view}'"):
        noisy_readings(bright_or_dark(), *grey(4), view=view)
    with pytest.raises(BadInput, match=f"'{view}'"):
        noisy_readings(bright_or_dark(), *grey(4), noise=view)
