"""Gradients through steps: the answers stay to the bit, and the gradient is that of the model without the steps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ibrobust.attacks.losses import margin
from ibrobust.models.bottleneck import View
from ibrobust.models.straight_through import straight_through
from ibrobust.randomness import Draw

WEIGHT = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) - 0.3


def head(z: Tensor) -> Tensor:
    return z.flatten(1) @ WEIGHT


def gradient(model: Callable[[Tensor], Tensor], *, through: bool) -> tuple[Tensor, Tensor]:
    view = View(lambda x, _noise: model(x), "mean", 0)
    x = X.clone().requires_grad_()
    logits = (straight_through(view) if through else view)(x, Draw(torch.zeros(6, dtype=torch.int64)))
    loss = margin(logits, torch.zeros(6, dtype=torch.int64)).sum()
    found = torch.autograd.grad(loss, x, allow_unused=True)[0] if loss.requires_grad else None
    return logits.detach(), torch.zeros_like(X) if found is None else found


EXACT = {
    "round": lambda x: head((4 * x).round() / 4),
    "floor": lambda x: head(torch.floor(4 * x) / 4),
    "detach": lambda x: head(x.detach()),
    "clamp": lambda x: head(x.clamp(-0.05, 0.05)),
    "straight through already": lambda x: head(x + ((4 * x).round() / 4 - x).detach()),
}


@pytest.mark.parametrize("name", EXACT)
def test_the_gradient_is_that_of_the_model_without_the_step(name: str) -> None:
    plain, _ = gradient(EXACT[name], through=False)
    logits, found = gradient(EXACT[name], through=True)
    assert torch.equal(logits, plain)
    rival = plain.scatter(1, torch.zeros(6, 1, dtype=torch.int64), -torch.inf).argmax(1)
    assert torch.allclose(found.flatten(1), WEIGHT.T[rival] - WEIGHT.T[0], atol=1e-6)


def winners(x: Tensor) -> Tensor:
    z = x.flatten(1)
    return (z * (z >= z.topk(4, dim=1).values[:, -1:])) @ WEIGHT


SWITCHED = {
    "comparison": lambda x: head((x > 0.1).float()),
    "thermometer": lambda x: sum(head((x > level).to(x.dtype)) for level in (-0.1, 0.1, 0.3)),
    "where": lambda x: head(torch.where(x > 0.1, 1.0, -1.0)),
    "below": lambda x: -head((x < 0.1).float()),
    "sign": lambda x: head(torch.sign(x - 0.1)),
    "votes": lambda x: torch.stack([F.one_hot(head(x).argmax(1), 4), F.one_hot(head(x).argmax(1), 4)]).float().mean(0),
    "probabilities": lambda x: (1000 * head(x)).softmax(1),
}


@pytest.mark.parametrize("name", SWITCHED)
def test_a_switch_lets_through_a_gradient_that_agrees_in_sign_with_what_it_switches(name: str) -> None:
    plain, nothing = gradient(SWITCHED[name], through=False)
    logits, found = gradient(SWITCHED[name], through=True)
    assert torch.equal(logits, plain)
    assert nothing.abs().max() < 1e-6
    if name not in ("votes", "probabilities"):
        rival = plain.scatter(1, torch.zeros(6, 1, dtype=torch.int64), -torch.inf).argmax(1)
        assert torch.equal(found.flatten(1).sign(), (WEIGHT.T[rival] - WEIGHT.T[0]).sign())
    else:
        assert (found.flatten(1).abs().amax(1) > 0).all()


def test_a_switch_that_multiplies_adds_its_own_part() -> None:
    plain, kept = gradient(winners, through=False)
    logits, found = gradient(winners, through=True)
    assert torch.equal(logits, plain)
    assert ((found != 0).flatten(1).sum(1) > (kept != 0).flatten(1).sum(1)).all()


def test_an_ordinary_network_has_its_own_gradient_and_numpy_is_let_be() -> None:
    def network(x: Tensor) -> Tensor:
        return torch.tanh(0.1 * head(F.relu(x)))

    for one, other in zip(gradient(network, through=False), gradient(network, through=True), strict=True):
        assert torch.allclose(one, other, atol=1e-6)

    def elsewhere(x: Tensor) -> Tensor:
        return torch.from_numpy(head(x.detach()).numpy())

    assert torch.equal(gradient(elsewhere, through=True)[0], head(X))
