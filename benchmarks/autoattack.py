"""The reference: AutoAttack at the settings of its paper, by its authors and by torchattacks."""

from collections.abc import Callable

import torch
from torch import nn

from ibrobust.types import Images, Labels

Reference = Callable[..., Images]
"""(model, x, y, eps, seed=0) → images."""


def by_its_authors(model: nn.Module, x: Images, y: Labels, eps: float, *, seed: int = 0) -> Images:
    """Images of APGD-CE and APGD-T with 100 steps, FAB-T with 100 and Square with 5000 queries (Croce & Hein 2020),
    each for what those before it left: the package `pyautoattack` as it comes."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, norm="Linf", eps=eps, seed=seed, version="standard", device=x.device)
    targets = min(9, int(model(x[:1]).shape[1]) - 1)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
    x_adv: Images = attack.run_standard_evaluation(x, y)[0]
    return x_adv


def by_torchattacks(model: nn.Module, x: Images, y: Labels, eps: float, *, seed: int = 0) -> Images:
    """The same with the settings of the paper, which torchattacks' own `AutoAttack` has not: that runs 10 steps of the
    first three."""
    from torchattacks import APGD, APGDT, FAB, MultiAttack, Square

    classes = int(model(x[:1]).shape[1])
    attacks = [
        APGD(model, eps=eps, norm="Linf", steps=100, loss="ce", seed=seed),
        APGDT(model, eps=eps, norm="Linf", steps=100, n_classes=classes, seed=seed),
        FAB(model, eps=eps, norm="Linf", steps=100, multi_targeted=True, n_classes=classes, seed=seed),
        Square(model, eps=eps, norm="Linf", n_queries=5000, seed=seed),
    ]
    x_adv: Images = MultiAttack(attacks)(x, y)
    return x_adv


REFERENCES: dict[str, Reference] = {"pyautoattack": by_its_authors, "torchattacks": by_torchattacks}


def broken_in_float64(model: nn.Module, x: Images, y: Labels, x_adv: Images, eps: float) -> torch.Tensor:
    """Which images lie in the ball and are misclassified, both computed in float64."""
    with torch.no_grad():
        wrong = model.double()(x_adv.double()).argmax(1) != y
    model.float()
    inside = (x_adv.double() - x.double()).abs().flatten(1).amax(1) <= eps + 1e-6
    return wrong & inside & ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)
