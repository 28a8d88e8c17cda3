"""An attack that sees decisions alone: exact distances, queries, and random numbers of each sample's own."""

import pytest
import torch
from torch import Tensor, nn

import ibrobust
from ibrobust.attacks import ATTACKS, NORMS, Attempt, victim
from ibrobust.errors import BadInput
from ibrobust.foreign import labels_as_logits
from ibrobust.images import frozen
from ibrobust.models.bottleneck import view
from ibrobust.randomness import sample_draw
from tests.oracles import Problem, linear, linear_at_the_edge, trained_digits

BOTH = pytest.mark.parametrize("norm", ["linf", "l2"])


def moved(
    problem: Problem, norm: str, queries: int, batch_size: int = 64, rows: Tensor | None = None
) -> tuple[Tensor, int]:
    """What the attack makes of the samples, or some of them, and the queries that it asked."""
    rows = torch.arange(len(problem.x)) if rows is None else rows
    draw = sample_draw(0, rows)
    asked = victim(view(problem.model, "mean"), draw, batch_size=batch_size)
    eps = torch.full((len(draw),), torch.inf)
    attempt = Attempt(asked, problem.x[rows], problem.y[rows], eps, draw, NORMS[norm])
    attack = ATTACKS["decision"].with_settings({"queries": queries})
    with frozen(problem.model), torch.no_grad():
        return attack.images(attempt), asked.queries.forward


@BOTH
def test_5000_decisions_come_within_a_tenth_of_the_exact_distance_and_never_below_it(norm: str) -> None:
    exact = {"linf": linear, "l2": linear_at_the_edge}[norm](norm, samples=2)
    images, asked = moved(exact, norm, 5000)
    distance = NORMS[norm].distance(images, exact.x)
    assert (exact.model(images).argmax(1) != exact.y).all()
    assert (distance >= exact.distance - 1e-6).all()
    assert (distance <= 1.1 * exact.distance).all()
    assert asked <= 5000 * len(exact.x)


@BOTH
def test_the_nearest_of_four_rivals_is_found(norm: str) -> None:
    """Samples on which a search ends at another rival, up to 2.1 times as far away."""
    exact = linear(norm, rivals=4)
    rows = torch.tensor([1, 3, 4, 6, 9])
    images, asked = moved(exact, norm, 1500, rows=rows)
    distance = NORMS[norm].distance(images, exact.x[rows])
    assert (exact.model(images).argmax(1) != exact.y[rows]).all()
    assert (distance <= 1.02 * exact.distance[rows]).all()
    assert asked <= 1500 * len(rows)


def test_searches_end_where_no_class_is_left() -> None:
    exact = linear("linf", samples=2)
    _, asked = moved(exact, "linf", 5000)
    assert asked < 1000 * len(exact.x)


@BOTH
def test_the_images_do_not_depend_on_the_batch(norm: str) -> None:
    model, x, y = trained_digits()
    whole = Problem(model, x[:4], y[:4], torch.zeros(4))
    together, _ = moved(whole, norm, 120)
    rows = torch.tensor([3, 1])
    apart, _ = moved(whole, norm, 120, batch_size=4, rows=rows)
    assert torch.equal(together[rows], apart)


def test_the_images_of_later_searches_do_not_depend_on_the_batch() -> None:
    exact = linear("linf", rivals=4)
    rows = torch.tensor([3, 1])
    together, apart = (moved(exact, "linf", 700, rows=some)[0] for some in (torch.arange(4), rows))
    assert torch.equal(together[rows], apart)


FEW = {"decision": ATTACKS["decision"].with_settings({"queries": 120})}


def test_a_norm_that_it_does_not_know_is_refused_by_name() -> None:
    exact = linear("l1", samples=2)
    with pytest.raises(BadInput, match="attack 'decision' cannot serve norm 'l1'"):
        ibrobust.breaking_radii(exact.model, exact.x, exact.y, attacks="decision", norm="l1")


def test_noise_is_refused_by_name() -> None:
    exact = linear("l2", samples=2)
    with pytest.raises(BadInput, match="attack 'decision' cannot serve view 'fresh'"):
        ibrobust.noisy_readings(exact.model, exact.x, exact.y, attacks="decision")


def test_a_model_that_never_errs_is_left_as_it_is() -> None:
    x, y = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(model[1].weight)
    nn.init.constant_(model[1].bias, 0.0)
    images, _ = moved(Problem(model, x, y, torch.zeros(3)), "l2", 150)
    assert torch.equal(images, x)


def test_labels_are_enough() -> None:
    exact = linear("linf", samples=2)
    labels = lambda x: exact.model(x).argmax(1)  # noqa: E731
    asked = {"attacks": FEW, "eps": "0:0.2:21", "health": "ignore"}
    of_labels = ibrobust.breaking_radii(labels, exact.x, exact.y, **asked)
    of_logits = ibrobust.breaking_radii(exact.model, exact.x, exact.y, **asked)
    assert of_labels.rows["decision"].tolist() == of_logits.rows["decision"].tolist()
    named = ibrobust.breaking_radii(labels_as_logits(labels, 5), exact.x, exact.y, **asked)
    assert named.rows["prediction"].tolist() == exact.y.tolist()


def test_a_label_beyond_the_known_ones_is_refused() -> None:
    x, y = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    with pytest.raises(BadInput, match="label 7, and 2 classes are known"):
        ibrobust.breaking_radii(lambda x: torch.full((len(x),), 7), x, y, attacks=FEW, health="ignore")


def test_no_gradient_is_asked_for() -> None:
    exact = linear("linf", samples=3)

    def asked(x: Tensor) -> Tensor:
        return torch.from_numpy(exact.model(x).detach().numpy()) if not x.requires_grad else pytest.fail("a gradient")

    attacks = {name: ATTACKS[name].with_settings({"queries": 250}) for name in ("decision", "square")}
    table = ibrobust.breaking_radii(asked, exact.x, exact.y, eps=[0.09, 0.11], attacks=attacks)
    assert (table.rows[["decision", "square"]] == torch.tensor(0.11).item()).all(axis=None)
    assert table.card.queries["clean"].gradient == 0
    assert not table.rows["zero_gradient"].any()


def test_settings_count_queries_exactly() -> None:
    exact = linear("l2", samples=2)
    for queries in (1, 50, 230):
        assert moved(exact, "l2", queries)[1] <= queries * len(exact.x)
