"""The loop: bytes that repeat, γ = 0, and runs that stop where they break."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save

from ibrobust.commands.train import main
from ibrobust.datasets import Dataset, Split, load_dataset
from ibrobust.entropies.quantities import summary
from ibrobust.errors import BadInput, RunFailed
from ibrobust.learning.augmentation import AUGMENTATIONS
from ibrobust.learning.objectives import REGULARIZERS, Regularizer
from ibrobust.learning.training import adversarial_images, train, training_images, untrained_model
from ibrobust.models.bottleneck import view
from ibrobust.randomness import GeneratorNoise, sample_draw
from ibrobust.recipe import make_recipe
from ibrobust.subjects.zoo import find_runs, load_run, save_run

ROOT = Path(__file__).parent.parent


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


def test_a_released_run_starts_out_again_as_it_did() -> None:
    released = load_run(ROOT / "zoo" / "runs" / "digits-mlp-none-g0-s0-3f2b0334")
    recipe = released.card.recipe.model_copy(update={"epochs": 2})
    history = train(recipe, load_dataset("digits")).history
    recorded = pd.read_csv(released.folder / "history.csv")
    # The history is written with six digits; another processor may round a product in another order.
    pd.testing.assert_frame_equal(history, recorded[:2], check_dtype=False, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"likelihood": "prediction", "latent_samples": 3},
        {"model": "mlp-1024", "dropout": 0.3, "latent_samples": 2, "reg": "logvar"},
        {"model": "resnet-small", "dropconnect": 0.1, "dropout": 0.1, "augment": "crop-flip", "reg": "cond-logvar"},
        {"latent_kind": "categorical", "latent": 20},
        {"latent_kind": "categorical", "latent": 20, "likelihood": "uncertainty"},
        {"latent_kind": "categorical", "likelihood": "prediction", "reg": "weight-decay"},
        {"reg": "dvib", "polyak": 0.9, "lr_schedule": "decay", "adam_beta1": 0.5, "latent_samples": 2},
        {"reg": "ceb", "clip": 1.0, "lr_schedule": "one-cycle"},
        {"shrink_latent": 0.5, "latent": 4},
        {"precision": "bfloat16"},
        {"adversarial": 0.1, "noise": "none"},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_every_choice_trains_repeats_and_is_found_on_disk(
    changes: dict[str, object], digits: Dataset, tmp_path: Path
) -> None:
    recipe = make_recipe({"epochs": 2, **changes})
    torch.manual_seed(1)
    trained = train(recipe, digits)
    torch.manual_seed(2)
    again = train(recipe, digits)
    pd.testing.assert_frame_equal(trained.history, again.history)
    saved = save_run(tmp_path, recipe, digits, trained, {})
    x = digits.test.x[:16]
    for kept in (again.model, load_run(saved.folder).model()):
        assert torch.equal(kept(x), trained.model(x))
    draw = sample_draw(0, torch.arange(len(x)))
    assert torch.equal(view(again.model, "fresh")(x, draw), view(trained.model, "fresh")(x, draw))
    # With a table that follows the data, the term on the way is not yet the quantity.
    falls = trained.history["decoder_uncertainty" if recipe.likelihood == "uncertainty" else "likelihood"]
    assert falls.iloc[1] < falls.iloc[0]


def test_with_several_samples_the_prediction_is_never_above_the_decoder_cross_entropy(digits: Dataset) -> None:
    for likelihood in ("decoder", "prediction"):
        changes = {"likelihood": likelihood, "latent_samples": 4, "noise": "1", "epochs": 2}
        history = train(make_recipe(changes), digits).history
        assert (history["prediction_cross_entropy"] < history["decoder_cross_entropy"]).all()
        assert history["likelihood"].tolist() == pytest.approx(history[f"{likelihood}_cross_entropy"].tolist())


def test_a_decoder_made_from_the_data_is_the_best_one(digits: Dataset) -> None:
    recipe = make_recipe({"latent_kind": "categorical", "latent": 20, "likelihood": "uncertainty", "epochs": 2})
    last = train(recipe, digits).history.iloc[-1]
    assert last["decoder_cross_entropy"] == pytest.approx(last["decoder_uncertainty"], rel=1e-4)
    learned = train(recipe.model_copy(update={"likelihood": "decoder"}), digits).history
    assert (learned["decoder_uncertainty"] < learned["decoder_cross_entropy"]).all()
    assert (learned["prediction_cross_entropy"] < learned["decoder_cross_entropy"]).all()


def test_polyak_keeps_the_average_of_the_weights(digits: Dataset) -> None:
    # One step per epoch: the weights after each are seen through a run that stops there.
    plain = {"batch_size": 256, "seed": 3}
    start = untrained_model(make_recipe(plain), digits).decoder.bias.detach()
    seen = [train(make_recipe({**plain, "epochs": n}), digits).model.decoder.bias.detach() for n in (1, 2, 3)]
    expected = start
    for bias in seen:
        expected = 0.9 * expected + 0.1 * bias
    averaged = train(make_recipe({**plain, "epochs": 3, "polyak": 0.9}), digits).model.decoder.bias
    torch.testing.assert_close(averaged.detach(), expected)


def test_observers_see_the_averaged_model_and_leave_training_alone(digits: Dataset) -> None:
    recipe, shown = make_recipe({"epochs": 2, "polyak": 0.5}), []
    watched = train(recipe, digits, observe=lambda epoch, model: shown.append((epoch, model.decoder.bias.clone())))
    assert [epoch for epoch, _ in shown] == [1, 2]
    assert torch.equal(shown[-1][1], watched.model.decoder.bias)
    pd.testing.assert_frame_equal(watched.history, train(recipe, digits).history)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("decay", [1.0, 1.0, 0.1, 0.1]),
        # 4 epochs of 5 steps: up in 4 steps, down in 16.
        ("one-cycle", [15 / 16, 10 / 16, 5 / 16, 0.0]),
    ],
)
def test_schedules(schedule: str, rates: list[float], digits: Dataset) -> None:
    recipe = make_recipe({"epochs": 4, "batch_size": 50, "lr_schedule": schedule, "lr_factor": 0.1, "lr_patience": 2})
    history = train(recipe, digits).history
    assert history["learning_rate"].tolist() == pytest.approx([1e-3 * rate for rate in rates])


def test_clipping_bounds_a_step(digits: Dataset) -> None:
    # Adam forgets the gradient's size but for its ε of 1e-8: gradients of 1e-12 hardly move a weight.
    recipe = {"epochs": 1, "batch_size": 256}
    start = untrained_model(make_recipe(recipe), digits).decoder.weight
    clipped = train(make_recipe({**recipe, "clip": 1e-12}), digits).model.decoder.weight
    free = train(make_recipe(recipe), digits).model.decoder.weight
    assert (clipped - start).abs().max() < 1e-6
    assert (free - start).abs().max() > 9e-4


def test_fewer_training_images_on_request_and_no_more_than_there_are(digits: Dataset) -> None:
    half = Dataset("half", digits.train[:128], digits.test, 10)
    assert len(training_images(make_recipe({"train_samples": 128}), digits)) == len(half.train)
    with pytest.raises(BadInput, match=r"train_samples = 999: 'digits' has 256 training images"):
        train(make_recipe({"train_samples": 999}), digits)


def test_the_shrinking_latent_keeps_the_function_and_loses_its_entropy(digits: Dataset) -> None:
    changes = {"latent": 4, "noise": "none", "epochs": 5}
    plain = train(make_recipe(changes), digits)
    shrunk = train(make_recipe({**changes, "shrink_latent": 0.5}), digits)
    x = digits.test.x
    torch.testing.assert_close(shrunk.model(x), plain.model(x), rtol=1e-3, atol=1e-4)
    scale = shrunk.history["latent_scale"].to_numpy()
    entropy = shrunk.history["encoding_entropy"].to_numpy()
    assert shrunk.model.distribution(digits.train.x)[0].var(0).mean().sqrt().item() == pytest.approx(0.5**5, rel=1e-3)
    assert (np.diff(scale) < 0).all()
    # Every epoch takes 4 · ln 2 nats, but for what training changes in the latent's shape.
    assert np.diff(entropy) == pytest.approx(-4 * math.log(2), abs=1.0)
    noisy = train(make_recipe({**changes, "noise": "zero-entropy", "shrink_latent": 0.1}), digits).history
    assert noisy["rescaled_error"].iloc[-1] > 0.8
    assert noisy["encoding_entropy"].iloc[-1] > -0.2


def test_augmentation_moves_and_mirrors_and_changes_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(400, 2, 16, 16, dtype=torch.uint8)
    x[:, 0, 8, 8], x[:, 1, 8, 7] = 1, 2
    moved = AUGMENTATIONS["crop-flip"](x, generator)
    assert moved.dtype == x.dtype
    assert moved.shape == x.shape
    places = (moved[:, 0] == 1).nonzero()
    assert len(places) == 400, "4 pixels from the middle never leave the image"
    # A point at column 8 moves to 4 … 12, or mirrored to 3 … 11; rows only move.
    assert places[:, 1].unique().tolist() == list(range(4, 13))
    assert places[:, 2].unique().tolist() == list(range(3, 13))
    beside = places[:, 2] - (moved[:, 1] == 2).nonzero()[:, 2]
    assert beside.unique().tolist() == [-1, 1], "channels move and turn together"
    assert (beside == -1).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(AUGMENTATIONS["none"](x, generator), x)


def test_every_released_run_obeys_the_bound_on_the_training_error() -> None:
    released = find_runs([ROOT / "zoo" / "runs", ROOT / "zoo" / "mnist"])
    assert len(released) > 50
    for run in released:
        measured = run.card.metrics["train"]
        # Kirsch et al. eq. 10: p(wrong) ≤ 1 − exp(−Hθ[Y|Z]).
        assert measured["error"] <= 1 - math.exp(-measured["decoder_cross_entropy"]), run.card.run


def test_metrics_of_a_dropout_model_are_the_mean_paths_error_and_no_information(digits: Dataset) -> None:
    trained = train(make_recipe({"model": "mlp-1024", "dropout": 0.9, "epochs": 2}), digits).model
    x, y = digits.test.x, digits.test.y
    measured = summary(trained, x, y)
    assert measured["error"] == (trained(x).argmax(1) != y).double().mean().item()
    # Dropout's part of H[Z|X] cannot be computed, so I[X;Z] is not there.
    entropies = {"encoding_entropy_low", "encoding_entropy_high"}  # too far apart for a number
    assert set(measured) == {"error", "decoder_cross_entropy", *entropies}
