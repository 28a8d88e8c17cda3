"""The benchmark of what rounding moves: the recipe's own network where nothing is nudged, another one where it is."""

import torch

from benchmarks.rounding import left_of, nudged, recropped
from ibrobust.datasets import load_dataset
from ibrobust.learning.training import train
from ibrobust.recipe import Recipe

RECIPE = Recipe(data="digits", model="mlp", reg="none", epochs=3, train_samples=256, batch_size=64)


def test_a_nudge_of_the_weights_is_all_that_differs() -> None:
    data = load_dataset("digits")
    own = train(RECIPE, data).model.state_dict()
    none, first, again, other = (
        nudged(RECIPE, data, seed, size=size).state_dict() for seed, size in ((0, 0.0), (1, 1e-7), (1, 1e-7), (2, 1e-7))
    )
    assert all(torch.equal(own[name], none[name]) for name in own)
    assert all(torch.equal(again[name], first[name]) for name in own)
    for moved in (first, other):
        assert not all(torch.equal(own[name], moved[name]) for name in own)
        assert all(torch.allclose(own[name], moved[name], atol=1e-2) for name in own)
    assert not all(torch.equal(other[name], first[name]) for name in own)


def test_other_crops_are_all_that_differs_where_images_are_cropped() -> None:
    data = load_dataset("digits")
    cropped = RECIPE.model_copy(update={"augment": "crop"})
    own, first, again, other = (
        model.state_dict()
        for model in (
            train(cropped, data).model,
            *(recropped(cropped, data, seed) for seed in (1, 1, cropped.seed + 2)),
        )
    )
    assert not all(torch.equal(own[name], first[name]) for name in own)
    assert all(torch.equal(again[name], first[name]) for name in own)
    assert all(torch.equal(own[name], other[name]) for name in own), "the recipe's own crops are those of its seed + 2"
    assert all(torch.equal(a, b) for a, b in zip(train(RECIPE, data).model.parameters(),
                                                 recropped(RECIPE, data, 1).parameters(), strict=True))  # fmt: skip


def test_what_is_left_is_what_the_attack_leaves_of_the_first_test_images() -> None:
    data = load_dataset("digits")
    model = train(RECIPE, data).model
    at = [left_of(model, data, radius, samples=50) for radius in (0.001, 0.5)]
    assert (
        at[0]["clean"]
        == at[1]["clean"]
        == float((model(data.test[:50].x).argmax(1) == data.test[:50].y).double().mean())
    )
    assert at[0]["pgd"] >= at[0]["clean"] - 0.1
    assert at[1]["pgd"] == 0
