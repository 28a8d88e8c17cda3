"""A gradient that is NaN or infinite on some samples never makes them robust: Square takes its place there."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ibrobust
from ibrobust.attacks import ATTACKS
from ibrobust.checks import Case
from ibrobust.checks.gradients import zero_gradient
from ibrobust.errors import ModelWarning
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import joined, save_results
from tests.linear_truth import BROKEN_AT, RADII, Linear, X, Y

LOST = [0, 5, 6]
"""Samples with a dark fifth row, each of another exact radius."""


def with_a_row(dark: list[int]) -> Tensor:
    row = torch.full((len(X), 1, 1, 4), 0.8)
    row[dark] = 0.2
    return torch.cat([X, row], 2)


def not_finite_where_dark(x: Tensor) -> Tensor:
    """x − ½ without the fifth row; where that is dark, zero is added whose gradient is 0/0 in every pixel."""
    zero = (x - x.detach()).flatten(1).square().sum(1)
    root = torch.where(x[:, 0, 4].mean(1) < 0.5, zero, 1.0).sqrt()
    return x[:, :, :4] - 0.5 + (root - root.detach()).view(-1, 1, 1, 1)


MODEL = Linear(before=not_finite_where_dark)
SQUARE = replace(ATTACKS["square"], settings=ATTACKS["square"].settings | {"queries": 600})
CLIMBING = {name: ATTACKS[name] for name in ("fgsm", "deepfool", "bim")}


@pytest.fixture(autouse=True)
def _fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibrobust.robustness.lost_gradients.ATTACKS", {"square": SQUARE})


@cache
def usually() -> BreakingRadii:
    return told(LOST)


def told(dark: list[int], **settings: object) -> BreakingRadii:
    with pytest.warns(ModelWarning, match=rf"NaN or infinite on {len(dark)} of 20 samples, \[0, 5, 6\]"):
        return ibrobust.breaking_radii(MODEL, with_a_row(dark), Y, **{"eps": RADII, "attacks": CLIMBING, **settings})


@pytest.mark.parametrize("columns", ["own", "standing"])
def test_every_column_holds_what_square_finds(columns: str) -> None:
    found = usually() if columns == "own" else told(LOST, columns=columns)
    for name in CLIMBING:
        assert found.rows[name].tolist() == pytest.approx(BROKEN_AT), name
    assert found.rows.index[found.rows["nan_gradient"]].tolist() == LOST
    assert not found.rows["zero_gradient"].any()
    assert found.attacks == list(CLIMBING)
    assert found.card.queries["square"].forward > 0
    assert found.card.queries["square"].gradient == 0


def test_a_protocol_with_square_is_not_asked_for_another() -> None:
    found = told(LOST, attacks={**CLIMBING, "square": SQUARE})
    assert found.rows["fgsm"].tolist() == pytest.approx(BROKEN_AT)
    assert found.rows["square"][LOST].tolist() == pytest.approx([BROKEN_AT[sample] for sample in LOST])


def test_other_samples_keep_their_answers() -> None:
    usual = ibrobust.breaking_radii(MODEL, with_a_row([]), Y, eps=RADII, attacks=CLIMBING)
    assert usual.card.warnings is None
    assert "square" not in usual.card.queries
    assert not usual.rows["nan_gradient"].any()
    others = [sample for sample in range(len(X)) if sample not in LOST]
    assert usually().rows.loc[others].equals(usual.rows.loc[others])


def test_l2() -> None:
    found = told(LOST, norm="l2", eps=[4 * 0.02, 4 * 0.15])
    assert found.all_attacks_N.tolist() == pytest.approx([0.6] * 20)


def test_images_that_prove_it_are_kept() -> None:
    found = told(LOST, keep_images="each")
    rows = found.evidence.rows
    assert set(rows.loc[rows["sample"] == 5, "attack"]) == set(CLIMBING)


def test_under_noise(few_draws, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(SQUARE, settings=SQUARE.settings | {"queries": 20})
    monkeypatch.setattr("ibrobust.robustness.lost_gradients.ATTACKS", {"square": few})
    with pytest.warns(ModelWarning, match="NaN or infinite on 3 of 20 samples"):
        found = ibrobust.noisy_readings(MODEL, with_a_row(LOST), Y, eps=[0.02, 0.3], attacks=["fgsm"])
    assert found.right_EN("fgsm", "fresh").mean(1).tolist() == [1, 0]
    assert found.sample_N.index[found.sample_N["nan_gradient"]].tolist() == LOST


def test_a_gradient_that_is_lost_on_the_way_counts_too() -> None:
    """Not finite only outside the samples themselves: beyond a change of 0.01 of the fifth row's brightness."""

    def before(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        zero = (x - x.detach()).flatten(1).square().sum(1)
        away = (flat[:, :16] - 0.5).abs().amax(1) > 0.115
        root = torch.where(away, zero, 1.0).sqrt()
        return x - 0.5 + (root - root.detach()).view(-1, 1, 1, 1)

    with pytest.warns(ModelWarning, match="NaN or infinite on"):
        found = ibrobust.breaking_radii(Linear(before=before), X, Y, eps=RADII, attacks=["bim", "pgd"])
    assert found.rows["pgd"].tolist() == pytest.approx(BROKEN_AT)


def test_an_audit_counts_them() -> None:
    found = usually()
    finding = zero_gradient(Case(MODEL, with_a_row(LOST), Y, found))
    assert finding.value == pytest.approx(3 / 20)
    assert "zero, NaN or infinite on 15.0%" in finding.sentence


def test_results_of_earlier_versions_are_read_and_joined(tmp_path: Path) -> None:
    found = usually()
    old = replace(found, rows=found.rows.iloc[:10].drop(columns="nan_gradient"))
    new = replace(found, rows=found.rows.iloc[10:])
    assert not old.sample_N["nan_gradient"].any()
    assert old.attacks == list(CLIMBING)
    whole = joined([old, new])
    assert whole.rows["nan_gradient"].dtype == bool
    assert whole.attacks == list(CLIMBING)
    save_results(whole, tmp_path / "results.parquet")
