"""What attacks must stand: any memory layout, rivals without a boundary, gradients of any size, large balls."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, victim
from ibrobust.attacks.contract import Samples, image_within
from ibrobust.attacks.losses import cross_entropy, margin
from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.images import frozen
from ibrobust.models.bottleneck import view
from ibrobust.randomness import sample_draw
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.oracles import Scaled, linear

EVERY_NORM = pytest.mark.parametrize("norm", sorted(NORMS))
SHORT = {
    "square": {"queries": 100},
    "apgd-t": {"steps": 20, "targets": 3},
    "apgd-ce": {"steps": 20},
    "apgd-dlr": {"steps": 20},
    "fab-t": {"steps": 8},
    "survivors": {"generations": 1},
}
QUICK = {name: replace(attack, settings=attack.settings | SHORT.get(name, {})) for name, attack in ATTACKS.items()}


class Twins(nn.Module):
    """Logits f and −f, some copies of each `below` it, and two classes out of reach, times `scale`."""

    def __init__(self, below: float, twins: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0] * 8))
        self.below, self.twins, self.scale = below, twins, scale

    def forward(self, x: Tensor) -> Tensor:
        f = ((x - 0.5).flatten(1) * self.weight).sum(1)
        copies = [g - self.below for g in (f, -f) for _ in range(self.twins)]
        return self.scale * torch.stack([f, -f, *copies, 0 * f - 9, 0 * f - 10], 1)


PARALLEL = [(1, 0.0, 1000), (4, 0.05, 1e-6), (12, 0.05, 1)]
TIED = [(1, 0.0, 1e-6), (3, 0.0, 1), (1, 1e-7, 1)]
"""With the copies in the denominator the ratio of APGD-T and APGD-DLR is constant, and they stand still."""


@EVERY_NORM
@pytest.mark.parametrize(
    ("attack", "twins", "below", "scale"),
    [
        *((attack, *rest) for attack in ("deepfool", "fab-t", "apgd-t") for rest in PARALLEL),
        *((attack, *rest) for attack in ("apgd-t", "apgd-dlr") for rest in TIED),
    ],
)
def test_rivals_that_move_with_the_label_distract_no_attack(attack, norm, twins, below, scale) -> None:
    y = torch.tensor([0, 1, 0, 1])
    exact = torch.tensor([0.03, 0.05, 0.07, 0.11])
    x = (0.5 + (exact * (1 - 2 * y))[:, None] * torch.tensor([1.0, -1.0] * 8)).view(-1, 1, 4, 4)
    size = {"linf": 1, "l2": 4, "l1": 16}[norm]
    eps = [size * radius for radius in (0.02, 0.04, 0.06, 0.08, 0.12)]
    alone = {attack: QUICK[attack]}
    found = breaking_radii(Twins(below, twins, scale), x, y, eps=eps, norm=norm, attacks=alone, health="ignore").rows[
        attack
    ]
    assert torch.allclose(torch.tensor(found), size * (exact + 0.01))


@EVERY_NORM
@pytest.mark.parametrize(
    ("attack", "nats"), [("fgsm", 16), ("fgsm", 80), ("bim", 80), ("pgd", 40), ("apgd-ce", 40)]
)  # A random start may be twice as sure.
def test_steps_up_the_cross_entropy_find_the_exact_radius_of_a_confident_model(attack, norm, nats) -> None:
    """The linear oracle's logits scaled until the least sure sample is so many nats sure: 1 − p(y) is below 1e-7."""
    problem = linear(norm)
    with torch.no_grad():
        lead = -margin(problem.model(problem.x), problem.y)
    confident = Scaled(problem.model, nats / float(lead.max()))
    alone = {attack: QUICK[attack]}
    rows = breaking_radii(
        confident, problem.x, problem.y, eps=[0.09, 0.11], norm=norm, attacks=alone, health="ignore"
    ).rows
    assert not rows["zero_gradient"].any()
    assert (rows[attack] == torch.tensor(0.11).item()).all()


def test_the_cross_entropy_is_right_where_the_probability_rounds_to_one() -> None:
    logits = torch.tensor(
        [[30.0, 0.0, 1.0], [12.5, 0.0, 0.0], [11.5, 0.0, 0.0], [80.0, 0.0, -90.0]], requires_grad=True
    )
    y, exact = torch.zeros(4, dtype=torch.int64), logits.detach().double().requires_grad_()
    wanted = (exact[:, 1:] - exact[:, :1]).exp().sum(1).log1p()
    (slope,) = torch.autograd.grad(wanted.sum(), exact)
    found = cross_entropy(logits, y)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert torch.allclose(found.double(), wanted, rtol=1e-2, atol=0)
    assert torch.allclose(gradient.double(), slope, rtol=1e-2, atol=1e-43)


@pytest.mark.parametrize("size", [1e-36, 1e-20, 1.0, 1e20, 1e37])
def test_the_l2_ascent_does_not_depend_on_the_size_of_the_gradient(size: float) -> None:
    gradient = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    up = NORMS["l2"].ascent(gradient)
    assert torch.allclose(NORMS["l2"].ascent(gradient * size), up, rtol=1e-5)
    assert torch.equal(NORMS["l2"].ascent(gradient * 2.0**-90), up)


def far_images(side: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model of two classes on images whose pixels all round the same way."""
    x = torch.full((2, 3, side, side), 0.3) + torch.tensor([0.0, 1e-3]).view(2, 1, 1, 1)
    model = nn.Sequential(nn.AvgPool2d(side), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
        model[2].bias.copy_(torch.tensor([9.0, -9.0]))
    return model, x, torch.zeros(2, dtype=torch.int64)


@EVERY_NORM
@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd", "square"])
def test_no_attack_leaves_the_ball_however_large_the_image(attack: str, norm: str, side: int) -> None:
    model, x, y = far_images(side)
    few = replace(QUICK[attack], settings=QUICK[attack].settings | {"square": {"queries": 5}}.get(attack, {"steps": 2}))
    draw, largest = (
        sample_draw(0, torch.arange(2)),
        {"linf": [0.1, 0.5], "l2": [0.5, 5.0, 50.0]}.get(norm, [5.0, 500.0]),
    )
    with frozen(model):
        for eps in largest:
            samples = Samples(victim(view(model), draw, batch_size=16), x, y, torch.arange(2), draw)
            x_adv = image_within(attack, few, samples, torch.full((2,), eps), NORMS[norm])
            distance = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
            reached = torch.linalg.vector_norm((x_adv.double() - x.double()).flatten(1), distance, dim=1)
            assert (reached <= eps + BALL_TOLERANCE).all()
            assert (reached > 0.3 * eps).all(), "and uses it"


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), side=st.sampled_from([4, 64]), eps=st.floats(0.01, 20))
def test_l2_projections_and_starts_of_large_images_hold_in_float64(seed: int, side: int, eps: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, side, side, generator=generator)
    point = x + torch.sign(torch.rand(1, generator=generator) - 0.5) * torch.rand(1, generator=generator)
    radius = torch.full((2,), eps)
    start = NORMS["l2"].start(x, radius, sample_draw(seed, torch.arange(2)))
    for image in (NORMS["l2"].project(point, x, radius), start):
        assert (torch.linalg.vector_norm((image.double() - x.double()).flatten(1), dim=1) <= eps + 1e-6).all()
        assert ((image >= 0) & (image <= 1)).all()
