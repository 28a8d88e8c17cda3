"""The table of audits: models whose truth is known, small; what counts as a false alarm and as a miss."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from benchmarks import audits
from benchmarks.audited.adaptive import adaptive_robustness
from benchmarks.audited.defence import Trained
from benchmarks.audited.kinds import KINDS
from ibrobust.attacks import ATTACKS
from ibrobust.checks.stand_ins import STAND_INS

TINY = {
    "apgd-ce": {"steps": 5}, "apgd-t": {"steps": 5, "targets": 2}, "fab-t": {"steps": 2, "targets": 2},
    "square": {"queries": 40},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


@pytest.mark.parametrize(("claim", "verdict", "outcome"), [
    (0.45, "trusted", "right"), (0.46, "trusted", "missed"), (0.46, "suspect", "found"),
    (0.45, "suspect", "false alarm"), (0.3, "masked", "false alarm"),
])  # fmt: skip
def test_a_verdict_is_right_where_it_agrees_with_the_truth(claim: float, verdict: str, outcome: str) -> None:
    assert audits.outcome(claim, 0.4, verdict) == outcome


@pytest.mark.parametrize(
    ("name", "outcome", "note"), [("logits × 300", "right", "zero-gradient"), ("hard votes", "found", "zero-gradient")]
)
def test_large_logits_are_no_false_alarm_and_hard_votes_no_miss(trained, monkeypatch, name, outcome, note) -> None:
    monkeypatch.setattr(audits, "_SHORT", TINY)
    for own, steps in {"straight-through": 20, "neighbourhood": 2, "answers": 3}.items():
        monkeypatch.setitem(STAND_INS, own, replace(STAND_INS[own], settings={"steps": steps}))
    usual = ATTACKS["square"]
    with audits.shortened():
        (row,) = audits.rows_of(name, trained, 24, ["paper"])
    assert ATTACKS["square"] is usual
    assert (row["outcome"], row["verdict"]) == (outcome, "trusted" if outcome == "right" else "masked"), row
    assert note in row["notes"]
    assert 0 < row["passes a sample"] < 20_000
    text = audits.printed(pd.DataFrame([row]))
    assert text.endswith(f"1 models, 1 claims: {int(outcome == 'right')} right, {int(outcome == 'found')} found, "
                         "0 false alarm, 0 missed")  # fmt: skip


def test_the_exact_truth_of_black_and_white_pixels_is_that_of_the_image_that_proves_it(trained) -> None:
    defence = KINDS["black and white, linear"](trained)
    x, y = trained.test(40)
    layer = defence.model.parts[0][1]
    robust = adaptive_robustness(defence, x, y, 0.1).bool()
    wrong = torch.zeros(len(x), dtype=torch.bool)
    for rival in range(10):
        up = (layer.weight[rival] - layer.weight[y]).view_as(x) > 0
        image = torch.where(up, x + 0.1, x - 0.1).clamp(0, 1)
        wrong |= defence.model(image).argmax(1) != y
    assert torch.equal(robust, ~wrong)
    assert 0.3 < robust.float().mean() < 0.9
