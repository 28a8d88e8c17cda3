"""Runs on disk: whole, named by their recipe, and the released ones as their recipes say."""

import os
from pathlib import Path

import pytest
import torch

from ibrobust.datasets import load_dataset
from ibrobust.entropies.quantities import summary
from ibrobust.files import released_zoo
from ibrobust.learning.training import Trained, train
from ibrobust.recipe import recipes_in
from ibrobust.subjects.zoo import find_runs, load_run, save_run

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def released():
    return find_runs([released_zoo() / "runs"])


def test_a_run_comes_back_to_the_bit(tmp_path):
    from ibrobust.recipe import make_recipe

    recipe, data = make_recipe({"reg": "dvib", "epochs": 1}), load_dataset("digits")
    trained = train(recipe, data)
    saved = save_run(tmp_path, recipe, data, trained, {"test": summary(trained.model, data.test.x, data.test.y)})
    loaded = load_run(saved.folder)
    assert loaded.card == saved.card
    assert loaded.card.recipe == recipe
    state, other = trained.model.state_dict(), loaded.model().state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    again = save_run(tmp_path / "again", recipe, data, Trained(loaded.model(), trained.history), saved.card.metrics)
    assert again.card == saved.card


def test_every_released_digits_run_is_of_its_recipe(released):
    wanted = {recipe.run_id: recipe for recipe in recipes_in(released_zoo() / "recipes" / "digits.toml")}
    found = {run.card.run: run.card.recipe for run in released if run.card.run in wanted}
    assert found == wanted


def test_released_names_are_those_of_the_recipes(released):
    for run in released:
        assert run.folder.name == run.card.run == run.card.recipe.run_id


@pytest.mark.parametrize(("folder", "name", "every"), [("runs", "digits", 8), ("mnist", "mnist", 24)])
def test_released_metrics_are_those_of_the_weights(folder, name, every):
    """Those of MNIST are of an earlier bias: their entropies lie between the bounds that are found now."""
    data_dir = os.environ.get("IBROBUST_DATA")
    if name == "mnist" and data_dir is None:
        pytest.skip("IBROBUST_DATA names no folder of data sets")
    test = load_dataset(name, data_dir=Path(data_dir) if data_dir else None).test[:10_000]
    for run in find_runs([released_zoo() / folder])[::every]:
        measured = summary(run.model(), test.x, test.y)
        metrics = run.card.metrics["test"]
        if name == "digits":
            assert measured == pytest.approx(metrics, rel=1e-4, abs=1e-4)
            continue
        bounded = {"encoding_entropy", "preserved_information"} & set(metrics)
        for quantity in bounded:
            low, high = measured.pop(f"{quantity}_low"), measured.pop(f"{quantity}_high")
            measured.pop(quantity, None)
            assert low <= metrics[quantity] <= high, (run.card.run, quantity)
        of_entropies = {f"{quantity}{end}" for quantity in bounded for end in ("", "_low", "_high")}
        rest = {quantity: value for quantity, value in metrics.items() if quantity not in of_entropies}
        assert measured == pytest.approx(rest, rel=1e-4, abs=1e-4)


@pytest.mark.skipif("IBROBUST_DATA" not in os.environ, reason="IBROBUST_DATA names no folder of data sets")
def test_errors_and_cross_entropies_of_every_other_mnist_run_are_those_of_the_weights(monkeypatch):
    """Every other run, one of each regulariser at least. The bounds of an entropy cost ten times as much."""
    monkeypatch.setattr("ibrobust.entropies.quantities._K", 10_000)
    test = load_dataset("mnist", data_dir=Path(os.environ["IBROBUST_DATA"])).test[:10_000]
    runs = find_runs([released_zoo() / "mnist"])
    assert {run.card.recipe.reg for run in runs[::2]} == {run.card.recipe.reg for run in runs}
    for run in runs[::2]:
        measured = summary(run.model(), test.x, test.y)
        assert set(measured) == {"error", "decoder_cross_entropy"}
        metrics = {name: run.card.metrics["test"][name] for name in measured}
        assert measured == pytest.approx(metrics, rel=1e-4, abs=1e-4), run.card.run


def test_released_results_carry_the_metrics_of_their_run_between_bounds(released_results):
    cards = {run.card.run: run.card for folder in ("runs", "mnist") for run in find_runs([released_zoo() / folder])}
    for result in released_results:
        run = result.card.model.run
        assert result.card.model.metrics == cards[run].metrics, run
    for card in cards.values():
        for split in card.metrics.values():
            for name in {"encoding_entropy", "preserved_information"} & set(split):
                assert split[f"{name}_low"] <= split[name] <= split[f"{name}_high"], card.run


def test_no_training_error_above_its_bound(released):
    """p(wrong) ≤ 1 − exp(−Hθ[Y|Z]) (Kirsch et al. eq. 10)."""
    for run in released:
        metrics = run.card.metrics["train"]
        bound = 1 - torch.exp(-torch.tensor(metrics["decoder_cross_entropy"])).item()
        assert metrics["error"] <= bound + 1e-9, run.card.run


def test_the_released_zoo_is_small():
    folder = released_zoo()
    weights = {path: path.stat().st_size for path in folder.rglob("*.safetensors")}
    of_the_table = sum(size for path, size in weights.items() if folder / "table" in path.parents)
    digits = sum(path.stat().st_size for path in folder.rglob("digits-*/*"))
    assert 0 < of_the_table < 20 * MEGABYTE
    assert sum(weights.values()) - of_the_table < 20 * MEGABYTE
    assert digits < 5 * MEGABYTE
