"""The loop: bytes that repeat, γ = 0, and runs that stop where they break."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from ibrobust.datasets import Dataset, Split, load_dataset
from ibrobust.errors import BadInput, RunFailed
from ibrobust.objectives import REGULARIZERS, Regularizer
from ibrobust.randomness import GeneratorNoise
from ibrobust.recipe import make_recipe
from ibrobust.train import main
from ibrobust.training import adversarial_images, train, untrained_model


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load_dataset("digits")
    return Dataset("digits", whole.train[:256], whole.test[:100], 10)


def weights(recipe: dict[str, object], data: Dataset) -> bytes:
    return save(
        {name: tensor.contiguous() for name, tensor in train(make_recipe(recipe), data).model.state_dict().items()}
    )


@pytest.mark.parametrize("reg", sorted(REGULARIZERS))
def test_the_same_recipe_gives_the_same_bytes(reg: str, digits: Dataset) -> None:
    recipe = {"reg": reg, "epochs": 1}
    torch.manual_seed(1)
    first = weights(recipe, digits)
    torch.manual_seed(2)
    assert weights(recipe, digits) == first
    assert weights({**recipe, "seed": 1}, digits) != first


@pytest.mark.parametrize("reg", sorted(set(REGULARIZERS) - {"none"}))
def test_gamma_0_is_none_to_the_bit(reg: str, digits: Dataset) -> None:
    noise = "0.3"
    plain = weights({"reg": "none", "noise": noise, "epochs": 2}, digits)
    assert weights({"reg": reg, "gamma": 0.0, "noise": noise, "epochs": 2}, digits) == plain


def test_history_has_a_row_per_epoch_and_its_loss_is_the_sum_of_its_terms(digits: Dataset) -> None:
    history = train(make_recipe({"reg": "l2", "gamma": 0.01, "epochs": 3}), digits).history
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["loss"].tolist() == pytest.approx((history["likelihood"] + 0.01 * history["regulariser"]).tolist())
    assert history["likelihood"].iloc[0] == pytest.approx(math.log(10), abs=0.3)
    assert history["error"].between(0, 1).all()


def test_a_plateau_lowers_the_learning_rate(digits: Dataset) -> None:
    # Steps of 1e-6 under noise of 5: the loss stands still, and the rate falls twice.
    schedule = {"epochs": 12, "learning_rate": 1e-6, "lr_factor": 0.1, "lr_patience": 1}
    rate = train(make_recipe({"noise": "5", **schedule}), digits).history["learning_rate"]
    assert rate.iloc[0] == 1e-6
    assert sorted(set(rate)) == pytest.approx([1e-8, 1e-7, 1e-6])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_term_that_is_not_finite_stops_with_epoch_step_and_name(bad: float, digits: Dataset) -> None:
    calls = []

    def breaks_in_step_6(encoding, y, model):  # type: ignore[no-untyped-def]
        calls.append(1)
        return encoding.z.sum() * 0 + (bad if len(calls) == 6 else 1.0)

    REGULARIZERS["breaking"] = Regularizer(breaks_in_step_6)
    try:
        with pytest.raises(RunFailed, match=rf"epoch 2, step 2: the breaking term is {bad}; training stopped"):
            train(make_recipe({"reg": "breaking", "epochs": 3}), digits)
    finally:
        del REGULARIZERS["breaking"]


def test_a_diverging_learning_rate_is_caught(digits: Dataset) -> None:
    with pytest.raises(RunFailed, match=r"epoch 1, step \d: the likelihood term is (nan|inf)"):
        train(make_recipe({"learning_rate": 1e30, "epochs": 2}), digits)


def test_data_without_a_training_part_is_refused(digits: Dataset) -> None:
    test_only = Dataset("half.npz", digits.train[:0], digits.test, 10)
    with pytest.raises(BadInput, match=r"'half.npz' has no training part"):
        train(make_recipe({}), test_only)


def test_the_model_normalises_with_the_training_images(digits: Dataset) -> None:
    model = untrained_model(make_recipe({}), digits)
    assert model.pixel_mean.item() == pytest.approx(digits.train.x.mean().item(), rel=1e-5)
    assert model.pixel_std.item() == pytest.approx(digits.train.x.std(correction=0).item(), rel=1e-5)
    constant = Split(torch.full((4, 1, 8, 8), 51, dtype=torch.uint8), torch.arange(4))
    black = untrained_model(make_recipe({}), Dataset("constant", constant, constant, 4))
    assert (black.pixel_mean.item(), black.pixel_std.item()) == (pytest.approx(0.2), 1.0)


def test_adversarial_images_stay_in_the_ball_and_find_a_linear_models_corner(digits: Dataset) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    x, y = digits.train.x[:32], digits.train.y[:32]
    noise = GeneratorNoise(torch.Generator().manual_seed(0), 32)
    x_adv = adversarial_images(model, x, y, 0.1, noise)
    assert ((x_adv - x).abs() <= 0.1 + 1e-6).all()
    assert ((x_adv >= 0) & (x_adv <= 1)).all()
    # 10 steps of eps/4 cross the ball: where the gradient's sign is constant the answer is a corner, cut to [0, 1].
    corner_distance = torch.minimum((x_adv - (x - 0.1).clamp(0, 1)).abs(), (x_adv - (x + 0.1).clamp(0, 1)).abs())
    assert (corner_distance < 1e-6).float().mean() > 0.9
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_flags_and_file_give_the_same_run(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('reg = "l2"\ngamma = 0.01\nlatent = 8\nepochs = 1\n')
    main(["--recipe", str(file), "--runs", str(tmp_path / "file"), "--device", "cpu"])
    flags = ["--reg", "l2", "--gamma", "0.01", "--latent", "8", "--epochs", "1"]
    main([*flags, "--runs", str(tmp_path / "flags"), "--device", "cpu"])
    (from_file,), (from_flags,) = (list((tmp_path / part).iterdir()) for part in ("file", "flags"))
    assert from_file.name == from_flags.name
    assert sorted(path.name for path in from_file.iterdir()) == ["card.json", "history.csv", "weights.safetensors"]
    for path in from_file.iterdir():
        assert path.read_bytes() == (from_flags / path.name).read_bytes()
