"""Every registered attack against problems whose answers are exact."""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, Attack, Attempt, victim
from ibrobust.attacks.losses import classes_by_logit, cross_entropy, dlr, margin, targeted_dlr
from ibrobust.attacks.norms import wide
from ibrobust.backends import CONSTANT_STEPS
from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.images import frozen
from ibrobust.models.bottleneck import view
from ibrobust.randomness import sample_draw
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.results import robust_share
from ibrobust.subjects.zoo import find_runs
from tests.oracles import Problem, Scaled, linear, linear_at_the_edge, trained_digits, two_layer

EVERY_NORM = pytest.mark.parametrize("norm", sorted(NORMS))
MINIMAL = sorted(name for name, attack in ATTACKS.items() if attack.minimal and not attack.decisions)
"""Those with gradients; what decisions alone find is looked at in `test_decision.py`."""
FIXED_RADIUS = sorted(name for name, attack in ATTACKS.items() if not attack.minimal)
ITERATIVE = sorted(set(FIXED_RADIUS) - {"fgsm", "square"})
SHORTER = {
    name: replace(
        attack,
        settings=attack.settings
        | {"square": {"queries": 300}, "apgd-t": {"steps": 30}, "survivors": {"generations": 1}}.get(name, {}),
    )
    for name, attack in ATTACKS.items()
}
"""The attacks with settings that fit a test: the longest are given less time."""


def attacked(attack: Attack, problem: Problem, norm: str, eps: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Which samples the attack breaks, and how far it moved each."""
    draw = sample_draw(0, torch.arange(len(problem.x)))
    with frozen(problem.model):
        asked = victim(view(problem.model), draw, batch_size=64)
        radius = torch.full((len(problem.x),), torch.inf) if eps is None else eps
        x_adv = attack.images(Attempt(asked, problem.x, problem.y, radius, draw, NORMS[norm]))
        return problem.model(x_adv).argmax(1) != problem.y, NORMS[norm].distance(x_adv, problem.x)


@EVERY_NORM
@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"decision"}))
def test_a_boundary_at_a_tenth_survives_9_hundredths_and_falls_at_11(attack: str, norm: str) -> None:
    problem = linear(norm)
    # Bumps of random sign cannot follow an arbitrary gradient of 4 × 4 pixels: random search in L2 needs twice as far.
    falls = 0.11 if attack != "square" else {"linf": 0.11, "l2": 0.2, "l1": 0.2}[norm]
    alone = {attack: SHORTER[attack]}
    results = breaking_radii(problem.model, problem.x, problem.y, eps=[0.09, falls], norm=norm, attacks=alone)
    assert (results.rows[attack] == torch.tensor(falls).item()).all()


@EVERY_NORM
@pytest.mark.parametrize("attack", MINIMAL)
@pytest.mark.parametrize("problem", [linear, lambda norm: linear(norm, rivals=4), linear_at_the_edge])
def test_minimal_attacks_are_within_2_percent_of_a_linear_boundary(attack: str, norm: str, problem) -> None:
    exact = problem(norm)
    broken, distance = attacked(SHORTER[attack], exact, norm)
    assert broken.all()
    assert (distance >= exact.distance - 1e-6).all()
    assert (distance <= 1.02 * exact.distance + 1e-5).all()


@EVERY_NORM
@pytest.mark.parametrize("attack", FIXED_RADIUS)
@pytest.mark.parametrize("problem", [linear, lambda norm: linear(norm, rivals=4), linear_at_the_edge, two_layer])
def test_nothing_is_broken_inside_the_exact_distance(attack: str, norm: str, problem) -> None:
    exact = problem(norm)
    broken, distance = attacked(SHORTER[attack], exact, norm, 0.999 * exact.distance - 2e-6)
    assert not broken.any()
    assert (distance <= exact.distance).all()


@EVERY_NORM
@pytest.mark.parametrize("attack", MINIMAL)
@pytest.mark.parametrize("seed", range(4))
def test_minimal_attacks_are_never_below_the_exact_distance(attack: str, norm: str, seed: int) -> None:
    exact = two_layer(norm, seed=seed)
    broken, distance = attacked(SHORTER[attack], exact, norm)
    assert (distance[broken] >= exact.distance[broken] - 1e-6).all()


@EVERY_NORM
@pytest.mark.parametrize("attack", ITERATIVE)
@pytest.mark.parametrize("seed", range(3))
def test_iterative_attacks_are_within_5_percent_on_a_two_layer_network(attack: str, norm: str, seed: int) -> None:
    exact = two_layer(norm, convex=True, seed=seed)
    broken, _ = attacked(SHORTER[attack], exact, norm, 1.05 * exact.distance)
    assert broken.all()


@EVERY_NORM
@pytest.mark.parametrize("attack", ["deepfool", "fab-t", "apgd-dlr", "apgd-t", "square"])
def test_attacks_on_margins_and_their_ratios_do_not_depend_on_the_scale_of_the_logits(attack: str, norm: str) -> None:
    model, x, y = trained_digits()
    short = SHORTER[attack]
    if attack == "square":
        short = replace(short, settings=short.settings | {"queries": 60})
    eps = {"linf": "0.06,0.1", "l2": "0.6,1", "l1": "1.5,3"}[norm]
    plain, scaled = (
        breaking_radii(subject, x[:12], y[:12], eps=eps, norm=norm, attacks={attack: short}, health="ignore")
        for subject in (model, Scaled(model, 1024))
    )
    assert plain.rows[attack].nunique() > 1
    assert plain.rows[attack].tolist() == scaled.rows[attack].tolist()


@EVERY_NORM
def test_where_the_cross_entropy_vanishes_strict_attacks_find_by_themselves_what_deepfool_finds(norm: str) -> None:
    model, x, y = trained_digits()
    attacks = {name: SHORTER[name] for name in ("deepfool", "pgd", "fab-t", "apgd-t")}
    eps = {"linf": "0:0.2", "l2": "0:2", "l1": "0:8"}[norm]
    rows = breaking_radii(
        Scaled(model, 1000), x[:40], y[:40], eps=eps, norm=norm, attacks=attacks, health="ignore"
    ).rows
    assert rows["zero_gradient"].mean() > 0.9
    assert (rows["pgd"] > rows["deepfool"]).mean() > 0.9
    assert (rows["fab-t"] <= rows["deepfool"]).all()
    assert (rows["apgd-t"] <= rows["deepfool"]).all()


def totals_of_shrinking_and_constant_steps(
    attack: str, norm: str, model: nn.Module, x: Tensor, y: Tensor
) -> list[float]:
    """Sums over radii of the shares that survive."""
    constant = replace(ATTACKS[attack], settings=ATTACKS[attack].settings | CONSTANT_STEPS[attack])
    attacks = {"shrinking": ATTACKS[attack], "constant": constant}
    results = breaking_radii(
        model, x, y, eps={"linf": "0:0.1", "l2": "0:2", "l1": "0:8"}[norm], norm=norm, attacks=attacks
    )
    return [robust_share(results.rows[name].to_numpy(), results.radii_E).sum() for name in attacks]


@EVERY_NORM
def test_10_shrinking_steps_break_more_than_10_of_a_fifth_of_the_radius(norm: str) -> None:
    shrinking, constant = totals_of_shrinking_and_constant_steps("bim", norm, *trained_digits())
    assert shrinking < constant


@pytest.mark.skipif("IBROBUST_DATA" not in os.environ, reason="IBROBUST_DATA names no folder of data sets")
@EVERY_NORM
def test_40_shrinking_steps_break_more_mnist_digits_than_40_of_a_tenth_of_the_radius(norm: str) -> None:
    """On 8 × 8 pixels either does about as well."""
    run = find_runs([released_zoo() / "mnist" / "mnist-lenet-l2-g0.1-s0-9348a0eb"])[0]
    test = load_dataset("mnist", data_dir=Path(os.environ["IBROBUST_DATA"])).test[:12]
    shrinking, constant = totals_of_shrinking_and_constant_steps("pgd", norm, run.model(), test.x, test.y)
    assert shrinking < constant


@EVERY_NORM
@pytest.mark.parametrize("attack", ["pgd", "apgd-ce", "apgd-dlr", "apgd-t", "square"])
def test_of_several_runs_that_fail_the_image_closest_to_a_mistake_is_returned(attack: str, norm: str) -> None:
    """Noise asks for it: an image that is not beyond doubt may still be wrong at every second look."""
    problem = linear(norm, rivals=4)
    eps, draw = torch.full((len(problem.x),), 0.05), sample_draw(0, torch.arange(len(problem.x)))

    def reached(**settings: int) -> Tensor:
        asked = victim(view(problem.model), draw, batch_size=64)
        again = replace(ATTACKS[attack], settings={**ATTACKS[attack].settings, **fewer, **settings})
        x_adv = again.images(Attempt(asked, problem.x, problem.y, eps, draw, NORMS[norm]))
        return margin(problem.model(x_adv), problem.y)

    fewer = {"queries": 20} if attack == "square" else {"steps": 20}
    more = {"targets": 4} if attack == "apgd-t" else {"restarts": 4}
    one = dict.fromkeys(more, 1)
    with frozen(problem.model):
        assert (reached(**more) < 0).all(), "nothing is broken at half of the distance"
        assert (reached(**more) >= reached(**one) - 1e-6).all()


@EVERY_NORM
@pytest.mark.parametrize("attack", ["pgd", "apgd-ce", "square"])
def test_more_random_starts_break_at_the_same_radius_or_a_smaller_one(attack: str, norm: str) -> None:
    model, x, y = trained_digits()
    short = ATTACKS[attack].settings | ({"queries": 20} if attack == "square" else {"steps": 4})
    eps = {"linf": "0:0.2:6", "l2": "0:2:6", "l1": "0:8:6"}[norm]

    def broken_by(restarts: int) -> pd.Series:
        alone = {attack: replace(ATTACKS[attack], settings=short | {"restarts": restarts})}
        results = breaking_radii(model, x[:100], y[:100], eps=eps, norm=norm, search="exhaustive", attacks=alone)
        return results.rows[attack]

    many, one = broken_by(3), broken_by(1)
    assert (many <= one).all()
    assert (many < one).any()


def test_square_leaves_out_patches_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = trained_digits()
    alone = {"square": replace(ATTACKS["square"], settings=ATTACKS["square"].settings | {"queries": 200})}
    results = breaking_radii(model, x[:50], y[:50], eps=[0.1], attacks=alone)
    monkeypatch.setattr("ibrobust.attacks.norms.linf.worth_asking", lambda old, _new, _every: torch.arange(len(old)))
    asked_always = breaking_radii(model, x[:50], y[:50], eps=[0.1], attacks=alone)
    assert results.rows.equals(asked_always.rows)
    assert results.card.queries["square"].forward < asked_always.card.queries["square"].forward


def test_the_margin_is_the_best_wrong_logit_minus_the_true_one() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert margin(logits, torch.tensor([0, 2])).tolist() == [-1.0, 4.0]


def test_cross_entropy_is_minus_the_log_probability_of_each_label() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.8], [0.5, 0.5]]))
    assert torch.allclose(cross_entropy(logits, torch.tensor([0, 1])).exp(), torch.tensor([5.0, 2.0]))


def test_the_difference_of_logits_ratio() -> None:
    logits, y = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]]), torch.tensor([0, 2])
    assert torch.allclose(dlr(logits, y), torch.tensor([-1 / 3, 1 / 3]))
    # From the largest, 4, to the mean of the third and fourth, 0.5.
    assert torch.allclose(targeted_dlr(logits, y, torch.tensor([1, 3])), torch.tensor([-3 / 3.5, -3 / 3.5]))
    assert classes_by_logit(logits, y).tolist() == [[2, 1, 3], [0, 1, 3]]


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), classes=st.integers(2, 12), shift=st.floats(-50, 50), scale=st.floats(0.01, 1000))
def test_dlr_losses_ignore_shift_and_scale_and_the_margin_ignores_shift(
    seed: int, classes: int, shift: float, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (8,), generator=generator)
    target = (y + 1) % classes
    moved = scale * logits + shift
    apart = moved.sort(dim=1).values.diff().amin() > 2e-6 * moved.abs().amax()
    assume(bool(apart))  # Logits that float32 could not tell from a tie count as one.
    assert torch.allclose(margin(moved, y), scale * margin(logits, y))
    if classes > 2:
        assert torch.allclose(dlr(moved, y), dlr(logits, y))
        assert torch.allclose(targeted_dlr(moved, y, target), targeted_dlr(logits, y, target))


def balls() -> st.SearchStrategy[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Some images, points around them, a radius each, and their ids."""

    def at(seed: int, largest: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = (2 * torch.rand(5, 2, 3, 3, generator=generator) - 0.5).clamp(0, 1)
        point = x + torch.randn(x.shape, generator=generator)
        return x, point, largest * torch.rand(5, generator=generator), torch.arange(5)

    return st.builds(at, st.integers(0, 10_000), st.floats(0.001, 2))


@EVERY_NORM
@settings(max_examples=50)
@given(case=balls())
def test_projection_lands_in_the_ball_and_the_range_and_then_stays(norm: str, case) -> None:
    x, point, eps, _ = case
    once = NORMS[norm].project(point, x, eps)
    assert ((once >= 0) & (once <= 1)).all()
    assert (NORMS[norm].distance(once, x) <= eps + 1e-6).all()
    assert torch.allclose(NORMS[norm].project(once, x, eps), once, atol=1e-6)


@EVERY_NORM
@settings(max_examples=50)
@given(case=balls())
def test_random_starts_lie_in_the_ball_and_depend_on_the_sample_alone(norm: str, case) -> None:
    x, _, eps, ids = case
    start = NORMS[norm].start(x, eps, sample_draw(3, ids))
    assert ((start >= 0) & (start <= 1)).all()
    assert (NORMS[norm].distance(start, x) <= eps + 1e-6).all()
    alone = NORMS[norm].start(x[3:4], eps[3:4], sample_draw(3, ids[3:4]))
    assert torch.equal(alone, start[3:4])


@EVERY_NORM
@settings(max_examples=50)
@given(case=balls())
def test_a_linear_loss_rises_by_the_dual_norm_along_the_ascent(norm: str, case) -> None:
    _, gradient, eps, _ = case
    rise = (gradient * wide(eps) * NORMS[norm].ascent(gradient)).flatten(1).sum(1)
    assert torch.allclose(rise, eps * NORMS[norm].dual(gradient), rtol=1e-4)


def test_an_attack_that_cannot_be_called_is_refused_when_it_is_made() -> None:
    def six_parameters(victim, x, y, eps, draw, norm, *, steps) -> Tensor:
        return x

    with pytest.raises(
        BadInput, match=r"^function 'six_parameters': an attack is called with \(attempt, steps\): missing"
    ):
        Attack(six_parameters, settings={"steps": 3})
    with pytest.raises(BadInput, match=r"^function 'gradient_ascent': .* unexpected keyword argument 'pace'"):
        replace(ATTACKS["fgsm"], settings={**ATTACKS["fgsm"].settings, "pace": 3})
