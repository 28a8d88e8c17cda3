"""The audit's check through softened ReLUs."""

import pytest

from ibrobust import breaking_radii
from ibrobust.checks import CHECKS, Case
from tests.planted_networks import CONSTRUCTIONS, EPS


@pytest.mark.parametrize("construction", ["plateau", "both-of-two", "decoy"])
def test_what_units_that_are_off_hide_is_found_through_soft_gates(construction):
    """A counterexample of each of 20 samples is planted behind units that are off: no attack of the paper finds one, an
    ascent through softened ReLUs all. Where a claim rests on that attack, or on no gradient, there is no question."""
    case = CONSTRUCTIONS[construction](20, 0)
    found = {}
    for attacks in (["fgsm", "pgd"], ["soft-t"], ["square"]):
        claim = breaking_radii(case.model, case.x, case.y, eps=[EPS], attacks=attacks, health="ignore")
        found[attacks[0]] = CHECKS["soft-gates"](Case(case.model, case.x, case.y, claim))
        if attacks[0] == "fgsm":
            assert claim.all_attacks_N.min() > EPS
    assert (found["soft-t"], found["square"]) == (None, None)
    assert found["fgsm"].value == 1
    assert found["fgsm"].kind == "attack"
    assert not found["fgsm"].passed
    assert found["fgsm"].means == "masked"
