"""How few gradients a search over radii can do with: what the benchmarks compare ours with."""

import numpy as np

from benchmarks.ratios import least_gradients
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.oracles import linear


def test_where_nothing_breaks_the_search_asks_for_as_few_as_can_be():
    """One clean gradient; ten steps of BIM, the first of which has it already; forty of PGD; once for both radii."""
    problem = linear("linf")
    results = breaking_radii(
        problem.model, problem.x, problem.y, eps=[0.01, 0.02], attacks=["fgsm", "bim", "pgd"], health="ignore"
    )
    assert (results.all_attacks_N == np.inf).all()
    assert least_gradients(results) == 1 + 9 + 40
    assert sum(queries.gradient for queries in results.card.queries.values()) == 50 * len(problem.x)


def test_a_sample_that_falls_at_the_first_radius_needs_no_failure():
    problem = linear("linf")
    results = breaking_radii(
        problem.model, problem.x, problem.y, eps=[0.2, 0.3], attacks=["bim", "pgd"], health="ignore"
    )
    assert (results.all_attacks_N == np.float32(0.2)).all()
    assert least_gradients(results) == 1
