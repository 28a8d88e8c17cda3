"""From a recipe to its model: the one place, for training and for loading."""

from ibrobust.learning.objectives import LIKELIHOODS, recipe_noise, require_fitting
from ibrobust.models import ImageShape, architecture, build_model
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.recipe import Recipe


def recipe_model(recipe: Recipe, shape: ImageShape, classes: int) -> Bottleneck:
    """The recipe's untrained model for images of a shape; its weights depend on the recipe's seed alone, and its pixel
    statistics are 0 and 1.

    Raises:
        BadInput: the recipe names something that is not registered or does not fit together.
    """
    require_fitting(recipe)
    return build_model(
        architecture(recipe.model, dropout=recipe.dropout, dropconnect=recipe.dropconnect),
        shape=shape,
        classes=classes,
        latent=recipe.latent,
        noise=recipe_noise(recipe),
        seed=recipe.seed,
        decoder=LIKELIHOODS[recipe.likelihood].decoder if recipe.latent_kind == "categorical" else "linear",
    )
