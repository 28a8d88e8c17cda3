"""What tells recipes apart that a table or a figure would show as if they were one."""

from collections.abc import Mapping, Sequence
from typing import Any

from ibrobust.recipe import Recipe
from ibrobust.robustness.card import ResultCard
from ibrobust.robustness.storage import AnyStored

_NOT_OF_BASELINES = ("noise", "gamma", "reg", "adversarial")
"""Fields that no figure tells unregularised recipes apart by."""


def recipe_of(result: AnyStored) -> Recipe:
    """The recipe of a trained run's result."""
    assert result.card.model is not None, "of a trained run"
    assert result.card.model.recipe is not None, "of a trained run"
    return result.card.model.recipe


def fields_apart(recipes: Sequence[Recipe], shown: Sequence[Mapping[str, Any]], told: Sequence[str]) -> list[str]:
    """Names of the fields, beside the seed, in which recipes differ that are shown alike.

    Args:
        shown: for each recipe what a reader sees of it.
        told: fields that are shown, or need not be.
    """
    alike: dict[tuple[object, ...], dict[str, dict[str, Any]]] = {}
    for recipe, seen in zip(recipes, shown, strict=True):
        fields = recipe.model_dump(exclude={"seed", *told})
        alike.setdefault(tuple(seen.values()), {})[str(fields)] = fields
    groups = [list(different.values()) for different in alike.values()]
    names = groups[0][0] if groups else []
    return [name for name in names if any(len({str(fields[name]) for fields in group}) > 1 for group in groups)]


def baselines_apart(results: Sequence[AnyStored]) -> dict[str, str]:
    """For each unregularised run whose recipe differs from another one's on the same data, but not in noise or
    adversarial training alone: what it is in these fields, as `epochs 1`."""
    baselines = {result.card.run: result.card for result in results if _is_unregularised(result.card)}
    recipes = [card.model.recipe for card in baselines.values() if card.model and card.model.recipe]
    shown = [
        {"dataset": card.dataset, "model": recipe.model, "adversarial": recipe.adversarial > 0}
        for card, recipe in zip(baselines.values(), recipes, strict=True)
    ]
    names = fields_apart(recipes, shown, _NOT_OF_BASELINES)
    return {
        run: ", ".join(f"{name.replace('_', ' ')} {getattr(recipe, name)}" for name in names)
        for run, recipe in zip(baselines, recipes, strict=True)
        if names
    }


def _is_unregularised(card: ResultCard) -> bool:
    return card.model is not None and card.model.recipe is not None and card.model.recipe.reg == "none"
