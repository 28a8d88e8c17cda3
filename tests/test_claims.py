"""Both tables of results answer the questions of a claim in the same way: with the noise off, and with it on."""

import numpy as np
import pytest
import torch

from ibrobust import breaking_radii, noisy_readings
from ibrobust.checks import Case
from ibrobust.robustness.results import Claim
from tests.linear_truth import EXACT, RADII, Linear, X, Y

WRONG = [3, 8]
"""Samples whose labels are not what the model says."""
LABELS = torch.tensor([1 - label if index in WRONG else label for index, label in enumerate(Y.tolist())])
SURVIVES = (EXACT[None, :] > torch.tensor(RADII)[:, None]).numpy() & ~np.isin(range(len(Y)), WRONG)


@pytest.fixture(scope="module", params=[breaking_radii, noisy_readings], ids=["noise off", "noise on"])
def claim(request: pytest.FixtureRequest) -> Claim:
    table = request.param(Linear(), X, LABELS, eps=RADII, attacks=["fgsm", "bim"], health="ignore")
    assert isinstance(table, Claim)
    return table


def test_a_table_says_who_is_right_and_who_survives_which_attacks(claim: Claim) -> None:
    assert np.flatnonzero(~claim.correct_N).tolist() == WRONG
    assert claim.clean == pytest.approx(1 - len(WRONG) / len(Y))
    for answer in (claim.robust_EN, claim.robust_to_EN(["fgsm"]), claim.robust_to_EN(["bim", "fgsm"])):
        assert np.array_equal(answer, SURVIVES)


def test_a_case_reads_either_table(claim: Claim) -> None:
    claimed = Case(Linear(), X, LABELS, claim).claimed
    assert len(claimed.correct) == len(Y) - len(WRONG)
    assert claimed.radius == 0.06, "where 8 of 20 survive; half of 18 are right"
    shown = np.flatnonzero(SURVIVES[RADII.index(0.06)]).tolist()
    assert claimed.survivors(0.06).tolist() == (list(range(len(Y))) if claimed.noisy else shown)
    assert claimed.rests_on("pgd", "bim") == ("bim",)
