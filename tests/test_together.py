"""Of few samples, several climbs, targets or patches share a batch: the same answers, images and counts."""

import pytest
import torch

from ibrobust.attacks import ATTACKS, restarts
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.oracles import trained_digits

TARGETED = {
    "apgd-ce": ATTACKS["apgd-ce"].with_settings({"steps": 8, "restarts": 2}),
    "apgd-t": ATTACKS["apgd-t"].with_settings({"steps": 12}),
    "fab-t": ATTACKS["fab-t"].with_settings({"steps": 3}),
    "square": ATTACKS["square"].with_settings({"queries": 60}),
}


@pytest.fixture(scope="module")
def few():
    """Digits of which some fall to the first climb, some to a later one, and some stand."""
    model, x, y = trained_digits()
    return model, x[:14], y[:14]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_answers_images_and_counts_do_not_depend_on_how_many_climbs_share_a_batch(few, norm, monkeypatch):
    eps = {"linf": [0.08], "l2": [0.6], "l1": [1.5]}[norm]

    def results():
        return breaking_radii(*few, eps=eps, norm=norm, attacks=TARGETED, keep_images="each", health="ignore")

    several = results()
    monkeypatch.setattr(restarts, "ROWS_TOGETHER", 1)
    one = results()
    assert several.rows.equals(one.rows)
    assert several.card.queries == one.card.queries
    assert torch.equal(several.images, one.images)
    assert several.filled != one.filled
    fell = one.rows[["apgd-ce", "apgd-t"]]
    assert (fell == fell.max().max()).any().any()
    assert (fell < fell.max().max()).any().any()


def test_one_sample_that_stands_is_asked_about_in_as_many_batches_as_there_are_steps(few, monkeypatch):
    """Nine climbs of 12 steps share 13 batches, a start and the steps, where one after the other takes 117."""
    model, x, y = few
    row = (model(x).argmax(1) == y).nonzero()[0]

    def passes() -> int:
        seen = []
        hook = model.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
        only = {"apgd-t": TARGETED["apgd-t"]}
        found = breaking_radii(model, x[row], y[row], eps=[0.001], attacks=only, health="ignore")
        hook.remove()
        assert (found.rows["apgd-t"] > 0.001).all()
        assert found.card.queries["apgd-t"].gradient == 9 * 13
        return sum(seen)

    together = passes()
    monkeypatch.setattr(restarts, "ROWS_TOGETHER", 1)
    assert passes() - together == 8 * 13
