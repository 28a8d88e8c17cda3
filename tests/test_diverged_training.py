"""A training whose last step ruins the weights has failed, by name, although no term of its loss shows it."""

import re

import numpy as np
import pytest
import torch

from ibrobust.commands.train import main
from ibrobust.datasets import Dataset, load_dataset
from ibrobust.entropies.quantities import require_finite
from ibrobust.entropies.trajectory import Trajectory
from ibrobust.errors import RunFailed
from ibrobust.learning.training import train, untrained_model
from ibrobust.recipe import make_recipe, recipes_in
from ibrobust.subjects.zoo import find_runs

ONE_STEP = {"epochs": 1, "train_samples": 100, "latent": 4}
NOT_FINITE = "the latent or the logits of 100 of 100 images are not finite"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load_dataset("digits")
    return Dataset("digits", whole.train[:100], whole.test[:100], 10)


@pytest.fixture(scope="module")
def few(digits, tmp_path_factory):
    """The digits as a file, so that little is measured."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    train, test = digits.train, digits.test
    np.savez(path, x_train=train.x.numpy(), y_train=train.y.numpy(), x=test.x.numpy(), y=test.y.numpy())
    return path


@pytest.mark.parametrize("more", [[], ["--track-information", "every=1"]], ids=str)
def test_it_is_one_failed_run_that_is_named_and_the_others_are_trained(more, few, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(f"data = '{few.as_posix()}'\nepochs = 1\nlatent = 4\nlearning_rate = [1e20, 1e8, 1e-3]\n")
    diverged, too_large, good = (recipe.run_id for recipe in recipes_in(file, {}))
    expected = (
        rf"^2 of 3 failed: {re.escape(diverged)}: the latent or the logits of 100 of 100 images are not finite; "
        rf"{re.escape(too_large)}: its latent is too large beside its noise to be measured"
    )
    with pytest.raises(RunFailed, match=expected):
        main(["--recipe", str(file), "--runs", str(tmp_path / "runs"), "--device", "cpu", *more])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [good]
    assert [run.card.run for run in find_runs([tmp_path / "runs"])] == [good]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"noise": "none"},
        {"noise": "learned"},
        {"latent_kind": "categorical", "latent": 20},
        {"shrink_latent": 0.9},
        {"polyak": 0.9},
    ],
    ids=str,
)
def test_no_model_comes_of_it_whatever_the_latent(more, digits):
    with pytest.raises(RunFailed, match=NOT_FINITE):
        train(make_recipe({**ONE_STEP, "learning_rate": 1e20, **more}), digits)


@pytest.mark.parametrize("where", ["encoder", "decoder"])
def test_weights_that_are_not_numbers_are_found_where_they_lie(where, digits):
    model = untrained_model(make_recipe(ONE_STEP), digits)
    require_finite(model, digits.train.x)
    with torch.no_grad():
        next(getattr(model, where).parameters()).fill_(torch.nan)
    with pytest.raises(RunFailed, match=NOT_FINITE):
        require_finite(model, digits.train.x)
    watching = Trajectory({"train": digits.train}, every=1, epochs=1, run="r")
    with pytest.raises(RunFailed, match=NOT_FINITE):
        watching(1, model)


def test_one_image_is_enough_and_counted(digits):
    model = untrained_model(make_recipe(ONE_STEP), digits)
    x = digits.train[:7].x.float() / 255
    x[3] = torch.nan
    with pytest.raises(RunFailed, match="of 1 of 7 images"):
        require_finite(model, x)
