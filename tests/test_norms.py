"""What a norm is, against plain references; and L1 against a dense search of every ball."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, protocol_attacks, victim
from ibrobust.attacks.contract import Samples, breaking_distance, broken_at
from ibrobust.errors import BadInput
from ibrobust.images import frozen
from ibrobust.models.bottleneck import view
from ibrobust.randomness import sample_draw
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.oracles import linear, linear_at_the_edge

L1 = NORMS["l1"]


def images(seed: int, count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Images of which many pixels are 0 or 1, points around them, gradients."""
    generator = torch.Generator().manual_seed(seed)
    x = (2 * torch.rand(count, 2, 3, 3, generator=generator) - 0.5).clamp(0, 1)
    point = x + torch.randn(x.shape, generator=generator)
    return x, point, torch.randn(x.shape, generator=generator)


def projected_by_halving(point: Tensor, x: Tensor, eps: float) -> Tensor:
    change, at = (point - x).double().flatten(), x.double().flatten()
    room = torch.where(change > 0, 1 - at, at)

    def shrunk(amount: float) -> Tensor:
        return torch.sign(change) * (change.abs() - amount).clamp(min=0).minimum(room)

    low, high = 0.0, float(change.abs().max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if shrunk(middle).abs().sum() > eps else (low, middle)
    return (at + shrunk(high if shrunk(0).abs().sum() > eps else 0.0)).view_as(x)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), eps=st.floats(0.001, 8))
def test_the_l1_projection_is_the_nearest_point_of_the_ball_within_the_range(seed: int, eps: float) -> None:
    x, point, other = images(seed)
    found = L1.project(point, x, torch.full((4,), eps))
    for index in range(4):
        nearest = projected_by_halving(point[index], x[index], eps)
        assert torch.allclose(found[index].double(), nearest, atol=2e-6)
    elsewhere = L1.project(x + other, x, torch.full((4,), eps))
    further = (elsewhere - point).square().flatten(1).sum(1)
    assert ((found - point).square().flatten(1).sum(1) <= further + 1e-4).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), length=st.floats(0.01, 8))
def test_an_l1_step_raises_a_linear_loss_as_no_other_within_the_range_does(seed: int, length: float) -> None:
    x, _, gradient = images(seed)
    stepped = L1.step(x, gradient, torch.full((4,), length))
    assert ((stepped >= 0) & (stepped <= 1)).all()
    assert (L1.distance(stepped, x) <= length + 1e-5).all()
    for index in range(4):
        left, best = length, 0.0
        slopes, at = gradient[index].flatten().tolist(), x[index].flatten().tolist()
        for slope, pixel in sorted(zip(slopes, at, strict=True), key=lambda pair: -abs(pair[0])):
            move = min(left, 1 - pixel if slope > 0 else pixel)
            left, best = left - move, best + abs(slope) * move
        rise = float((gradient[index] * (stepped[index] - x[index])).sum())
        assert rise == pytest.approx(best, abs=1e-4)


@functools.cache
def two_features() -> tuple[nn.Module, Tensor, Tensor]:
    """A ReLU network of two features trained on two moons, and points that it classifies right."""
    rng = np.random.default_rng(0)
    angle, label = rng.uniform(0, np.pi, 300), np.arange(300) % 2
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * np.where(label, 1, -1)[:, None]
    points += np.where(label[:, None], [0.5, -0.2], [-0.5, 0.2]) + rng.normal(0, 0.08, points.shape)
    points = (points - points.min(0)) / np.ptp(points, axis=0)
    x, y = torch.tensor(points, dtype=torch.float32).view(-1, 1, 1, 2), torch.tensor(label)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 2))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero().squeeze(1)[:40]
    return model, x[right], y[right]


def exact_l1_distances(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """By brute force: the distance to the nearest of 1001² points of the square that are classified otherwise."""
    side = torch.linspace(0, 1, 1001)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        label = model(grid.view(-1, 1, 1, 2)).argmax(1)
    return torch.stack(
        [(grid[label != truth] - point.flatten()).abs().sum(1).min() for point, truth in zip(x, y, strict=True)]
    )


def broken_within(attack: str, model: nn.Module, x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
    """Which samples the attack breaks within a radius each."""
    ids = torch.arange(len(x))
    with frozen(model):
        samples = Samples(victim(view(model), sample_draw(0, ids), batch_size=64), x, y, ids, sample_draw(0, ids))
        if ATTACKS[attack].minimal:
            return breaking_distance(attack, ATTACKS[attack], samples, L1)[0] <= eps + 1e-6
        return broken_at(attack, ATTACKS[attack], samples, eps, L1)[0]


@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd", "deepfool", "apgd-ce", "apgd-t", "fab-t"])
def test_l1_attacks_find_the_distance_that_brute_force_finds_on_two_features(attack: str) -> None:
    model, x, y = two_features()
    exact, grid = exact_l1_distances(model, x, y), 2e-3
    assert len(x) == 40
    assert not broken_within(attack, model, x, y, (exact - grid).clamp(min=1e-6)).any()
    if attack != "fgsm":
        assert broken_within(attack, model, x, y, 1.05 * exact + grid).all()


@pytest.mark.parametrize("attack", ["fgsm", "bim", "deepfool", "fab-t"])
@pytest.mark.parametrize("problem", [linear, linear_at_the_edge])
def test_l1_attacks_are_exact_on_linear_models(attack: str, problem) -> None:
    exact = problem("l1")
    further = 1.01 if attack in ("fgsm", "bim") else 1.025
    assert not broken_within(attack, exact.model, exact.x, exact.y, 0.99 * exact.distance).any()
    assert broken_within(attack, exact.model, exact.x, exact.y, further * exact.distance).all()


def test_a_norm_without_moves_is_refused_by_square_by_name() -> None:
    problem = linear("l2")
    NORMS["l2-without-moves"] = replace(NORMS["l2"], name="l2-without-moves", moves=None)
    try:
        with pytest.raises(BadInput, match="'square' cannot serve norm 'l2-without-moves'"):
            breaking_radii(problem.model, problem.x, problem.y, norm="l2-without-moves", attacks=["square"])
    finally:
        del NORMS["l2-without-moves"]


def test_the_attacks_of_a_protocol_are_at_hand_by_name() -> None:
    assert [*protocol_attacks("paper")] == ["fgsm", "deepfool", "bim", "pgd"]
    assert protocol_attacks("strict")["square"] is ATTACKS["square"]
    with pytest.raises(BadInput, match="no protocol 'l7'"):
        protocol_attacks("l7")
