"""`strict` at one radius on an adversarially trained CNN beside torchattacks, and the sweep over ten. `make bench`

Everybody attacks only what still stands, as AutoAttack does.
"""

from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.speed import evaluated, noted, timed
from ibrobust.attacks import Attack
from ibrobust.backends import AsItIs
from ibrobust.backends.adapter import Call, library_attack
from ibrobust.datasets import Split
from ibrobust.images import frozen
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.results import BreakingRadii
from ibrobust.types import Images


def autoattack(call: Call) -> Images:
    """The standard version as torchattacks ships it: APGD and FAB run for 10 steps, not for 100."""
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.AutoAttack(call.model, eps=call.eps, n_classes=call.classes, seed=call.seed)
    x_adv: Images = attack(call.x, call.y)
    return x_adv


def evaluated_by(who: str, model: torch.nn.Module, samples: Split, eps: list[float]) -> BreakingRadii:
    if who != "torchattacks' AutoAttack":
        return evaluated(who, model, samples, protocol="strict", columns="standing", eps=eps)
    attack = Attack(partial(library_attack, autoattack))
    with frozen(model):
        return breaking_radii(
            AsItIs(model),
            samples.x,
            samples.y,
            eps=eps,
            attacks={"autoattack": attack},
            search="exhaustive",
        )


@pytest.mark.parametrize("who", ["native", "torchattacks' AutoAttack", "torchattacks"])
def test_strict_at_one_radius(
    benchmark: Any, who: str, adversarial_model: torch.nn.Module, samples: Split, adversarial_eps: float
) -> None:
    benchmark.group = "strict"
    results = timed(benchmark, evaluated_by, who, adversarial_model, samples, [adversarial_eps])
    noted(benchmark, f"strict at {adversarial_eps}", who, results)


def test_strict_sweep(
    benchmark: Any, adversarial_model: torch.nn.Module, samples: Split, adversarial_eps: float
) -> None:
    radii = [round(adversarial_eps * step / 10, 12) for step in range(1, 11)]
    benchmark.group = "strict"
    results = timed(benchmark, evaluated_by, "native", adversarial_model, samples, radii)
    noted(benchmark, "strict at 10 radii", "native", results)
