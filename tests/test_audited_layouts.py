"""An audit finds the same whatever the memory layout of the images."""

from dataclasses import replace

import pytest
import torch

from ibrobust import breaking_radii
from ibrobust.attacks import ATTACKS
from ibrobust.checks import CHECKS
from ibrobust.checks.stand_ins import STAND_INS
from ibrobust.experiments.auditing import audit
from tests.test_attack_faults import EVERY_NORM
from tests.test_memory_layouts import BRIEF, colour_problem, layouts

ASKED = (
    "zero-gradient", "same-answer", "slope", "rising-loss", "margin-loss", "rescaled-logits", "straight-through",
    "effort",
)  # fmt: skip
"""Those that ask the model; what strict attacks make of a layout is tested attack by attack."""


@EVERY_NORM
def test_an_audit_finds_the_same_in_every_layout(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibrobust.checks.verdict.CHECKS", {name: CHECKS[name] for name in ASKED})
    monkeypatch.setitem(STAND_INS, "straight-through", replace(STAND_INS["straight-through"], settings={"steps": 6}))
    for name in ("pgd", "apgd-ce", "apgd-dlr"):
        monkeypatch.setitem(ATTACKS._entries, name, BRIEF[name])
    model, x, y = colour_problem()
    eps = {"linf": [0.01, 0.03], "l2": [0.1, 0.3]}.get(norm, [0.4, 0.8])
    claim = breaking_radii(model, x, y, eps=eps, norm=norm, attacks={"pgd": BRIEF["pgd"]})

    def found(images: torch.Tensor) -> str:
        return str(audit(model, images, y, claim, health="ignore"))

    plain = found(x)
    assert plain.count("\n") == len(ASKED) + 1, "a line each for the checks, evidence and verdict"
    for name, images in layouts(x).items():
        assert found(images) == plain, name
    same = x[:1].expand(len(x), -1, -1, -1)
    label = y[:1].expand(len(x)).contiguous()
    claim = breaking_radii(model, same, label, eps=eps, norm=norm, attacks={"pgd": BRIEF["pgd"]})
    assert str(audit(model, same, label, claim, health="ignore")) == str(
        audit(model, same.contiguous(), label, claim, health="ignore")
    )
