"""How the learning rate changes, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

from ibrobust.recipe import Recipe
from ibrobust.registry import Registry, extension_point


@dataclass(frozen=True)
class Schedule:
    """What happens to the learning rate after a step, and after an epoch with its mean loss."""

    after_step: Callable[[], object] = lambda: None
    after_epoch: Callable[[float], object] = lambda _loss: None


SCHEDULES: Registry[Callable[[Optimizer, Recipe, int], Schedule]] = extension_point("schedule", Callable)
"""Name → (optimiser, recipe, number of all steps) → schedule."""


def plateau(optimizer: Optimizer, recipe: Recipe, _steps: int) -> Schedule:
    """× lr_factor when the training loss has not improved for more than lr_patience epochs (Kirsch et al. §G.1)."""
    scheduler = ReduceLROnPlateau(optimizer, factor=recipe.lr_factor, patience=recipe.lr_patience)
    return Schedule(after_epoch=scheduler.step)


def decay(optimizer: Optimizer, recipe: Recipe, _steps: int) -> Schedule:
    """× lr_factor after every lr_patience epochs (Alemi et al. 2016: 0.97 every 2)."""
    scheduler = StepLR(optimizer, step_size=recipe.lr_patience, gamma=recipe.lr_factor)
    return Schedule(after_epoch=lambda _loss: scheduler.step())


def one_cycle(optimizer: Optimizer, _recipe: Recipe, steps: int) -> Schedule:
    """Up in a straight line for a fifth of the steps, then down to 0: the most for a short training."""
    rise = max(1, steps // 5)
    scheduler = LambdaLR(optimizer, lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise)))
    return Schedule(after_step=scheduler.step)


def constant(_optimizer: Optimizer, _recipe: Recipe, _steps: int) -> Schedule:
    """The same throughout."""
    return Schedule()
