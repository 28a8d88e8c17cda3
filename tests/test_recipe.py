"""Recipes: flags, TOML and the run's name are one thing."""

import math
from inspect import signature
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibrobust.datasets import DATASETS
from ibrobust.errors import BadInput
from ibrobust.learning.augmentation import AUGMENTATIONS
from ibrobust.learning.objectives import objective, recipe_noise
from ibrobust.learning.schedules import SCHEDULES
from ibrobust.models import MODELS
from ibrobust.recipe import Recipe, make_recipe, recipes_in

RECIPES = Path(__file__).parent.parent / "zoo" / "recipes"

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_POSITIVE = st.floats(min_value=1e-12, max_value=1e12, exclude_min=True)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    reg = draw(st.sampled_from(["none", "l2", "logvar", "dvib"]))
    values = {
        "data": draw(_TEXT),
        "model": draw(st.sampled_from(["mlp", "cnn"])),
        "reg": reg,
        "gamma": 0.0 if reg == "none" else draw(st.floats(min_value=0, max_value=1e6)),
        "latent": draw(st.integers(1, 4096)),
        "noise": draw(_TEXT),
        "epochs": draw(st.integers(1, 10_000)),
        "learning_rate": draw(_POSITIVE),
        "seed": draw(st.integers(0, 2**63 - 1)),
    }
    return Recipe(**values)


@given(recipes())
def test_recipe_to_toml_to_recipe_is_the_identity(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(recipe.to_toml(), encoding="utf-8")
    assert recipes_in(file) == [recipe]
    assert recipes_in(file)[0].run_id == recipe.run_id


@given(recipes(), recipes())
def test_different_recipes_have_different_names(one: Recipe, other: Recipe) -> None:
    assert (one == other) == (one.run_id == other.run_id)


def test_names_of_released_recipes_never_change() -> None:
    # Trained runs are found by these names: a default that changes, or enters the hash, is an error.
    assert make_recipe({"noise": "zero-entropy"}).run_id == "digits-mlp-none-g0-s0-ebf8c7e0"
    assert make_recipe({"adversarial": 0.1, "noise": "none"}).run_id == "digits-mlp-none-adv0.1-g0-s0-87be6ebf"
    assert make_recipe({"noise": "none"}).run_id == "digits-mlp-none-g0-s0-cfa64d5e"
    assert make_recipe({"reg": "l2", "gamma": 1e-4}).run_id == "digits-mlp-l2-g0.0001-s0-c3d3048a"


def test_lists_are_grids_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(
        'epochs = 3\n[[run]]\nreg = "none"\n[[run]]\nreg = ["l2", "logvar"]\ngamma = [0.1, 0.2]\nseed = 1\n'
    )
    grid = recipes_in(file, {"seed": 7})
    assert [(recipe.reg, recipe.gamma) for recipe in grid] == [
        ("none", 0.0), ("l2", 0.1), ("l2", 0.2), ("logvar", 0.1), ("logvar", 0.2)
    ]  # fmt: skip
    assert {recipe.seed for recipe in grid} == {7}
    assert {recipe.epochs for recipe in grid} == {3}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gama = 0.1", ["'gama'", "gamma", "latent"]),
        ("gamma = -1.0", ["gamma", "-1.0"]),
        ('reg = "l2"\ngamma = nan', ["gamma", "nan"]),
        ("epochs = 0", ["epochs", "0"]),
        ("learning_rate = 0.0", ["learning_rate", "0.0"]),
        ('epochs = "many"', ["epochs", "many"]),
        ("gamma = 0.1", ["gamma", "none"]),
        ("epochs = ", ["recipe.toml"]),
    ],
)
def test_a_bad_recipe_is_one_line_with_key_and_value(tmp_path: Path, line: str, words: list[str]) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(line)
    with pytest.raises(BadInput) as error:
        recipes_in(file)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in ["recipe.toml", *words])


def test_a_bad_flag_is_named_as_a_flag() -> None:
    with pytest.raises(BadInput, match=r"--batch-size 0: .*greater than or equal to 1"):
        make_recipe({"batch_size": 0})


FOLDERS = {("table-cifar10", "cifar10-jpeg")}
"""Recipes for a folder of images that a reader has to make, as the recipe says."""


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_recipe_of_the_zoo_names_what_there_is(file: Path) -> None:
    grid = recipes_in(file)
    assert grid
    assert len({recipe.run_id for recipe in grid}) == len(grid)
    for recipe in grid:
        assert recipe.data in DATASETS or (file.stem, recipe.data) in FOLDERS
        assert recipe.augment in AUGMENTATIONS
        assert recipe.lr_schedule in SCHEDULES
        recipe_noise(recipe)
        objective(recipe, 10)
        assert {"dropout": recipe.dropout, "dropconnect": recipe.dropconnect} == {
            key: rate
            for key, rate in (("dropout", recipe.dropout), ("dropconnect", recipe.dropconnect))
            if not rate or key in signature(MODELS[recipe.model]).parameters
        }


def test_every_figure_has_a_recipe_of_the_papers_size_and_a_small_one() -> None:
    names = {file.stem for file in RECIPES.glob("figure-*.toml")}
    large = {name for name in names if not name.endswith("-small")}
    assert large == {
        f"figure-{number}"
        for number in ["1", "3", "4", "5", "6", "E1", "G2", "G4", "G5", "G6", "G7", "G8", "G10", "G11", "G15"]
    }
    assert names - large == {f"{name}-small" for name in large}


def test_the_papers_values_are_in_the_recipes() -> None:
    planes = recipes_in(RECIPES / "figure-4.toml")
    assert len(planes) == 1 + 3 * 30
    assert {
        (r.model, r.latent, r.epochs, r.batch_size, r.learning_rate, r.lr_factor, r.lr_patience) for r in planes
    } == {("resnet18v2", 256, 150, 128, 0.5e-3, 0.1, 10)}
    dvib = [recipe for recipe in recipes_in(RECIPES / "figure-G15.toml") if recipe.reg == "dvib"]
    assert {(r.latent_samples, r.epochs, r.adam_beta1, r.polyak, r.lr_factor, r.lr_patience) for r in dvib} == {
        (12, 200, 0.5, 0.999, 0.97, 2)
    }
    assert {recipe.seed for recipe in dvib} == set(range(5))


SECTION_4 = {"l2": (1e-6, 10.0), "logvar": (1e-5, 1.0), "cond-logvar": (1e-5, 10.0)}
"""Ranges of γ by regulariser (Kirsch et al. §4)."""


@pytest.mark.parametrize("figure", ["figure-4", "figure-5", "figure-G15"])
def test_gammas_span_the_papers_ranges_and_zero_is_trained_apart(figure: str) -> None:
    recipes = recipes_in(RECIPES / f"{figure}.toml")
    for reg, (low, high) in SECTION_4.items():
        gammas = sorted({recipe.gamma for recipe in recipes if recipe.reg == reg})
        assert (gammas[0], gammas[-1]) == (low, high), reg
        assert len(gammas) == (30 if figure == "figure-4" else 10)
        steps = [math.log(b / a) for a, b in pairwise(gammas)]
        assert max(steps) == pytest.approx(min(steps), rel=0.02), "evenly spaced logarithms"
    assert {recipe.gamma for recipe in recipes if recipe.reg == "none"} == {0.0}
    assert any(recipe.reg == "none" and recipe.noise != "none" for recipe in recipes), "γ = 0 with the others' noise"


def test_figure_5_is_of_the_papers_resnet() -> None:
    """§G.1: all but the experiments of section E are of ResNet18v2."""
    assert {recipe.model for recipe in recipes_in(RECIPES / "figure-5.toml")} == {"resnet-mlp", "resnet18v2"}
