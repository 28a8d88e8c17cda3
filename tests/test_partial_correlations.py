"""Partial rank correlations: exact answers, who is left out, and intervals that hold the truth."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from benchmarks.correlation_coverage import LAWS, coverage, runs_drawn, truth
from benchmarks.partial_correlations import (
    CONTROL,
    OUTCOME,
    QUANTITIES,
    correlations,
    partial_correlation,
    quantity_figure,
    with_interval,
)


def directions(count: int) -> np.ndarray:
    """Three columns that are orthogonal to each other and to a constant, each of length one."""
    drawn = np.random.default_rng(0).normal(size=(count, 3))
    orthonormal, _ = np.linalg.qr(np.column_stack([np.ones(count), drawn]))
    return orthonormal[:, 1:]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_correlation_of_what_least_squares_leaves(seed):
    x, y, held = np.random.default_rng(seed).normal(size=(3, 20)) @ np.random.default_rng(seed).normal(size=(20, 20))
    line = np.column_stack([np.ones(20), held])
    left = [values - line @ np.linalg.lstsq(line, values, rcond=None)[0] for values in (x, y)]
    assert partial_correlation(x, y, held) == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-12)
    xy, xz, yz = np.corrcoef([x, y, held])[[0, 0, 1], [1, 2, 2]]
    formula = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_correlation(x, y, held) == pytest.approx(formula, abs=1e-12)


def test_what_only_the_held_quantity_explains_is_nothing_once_it_is_held():
    held, one, other = directions(40).T
    x, y = math.sqrt(0.9) * held + math.sqrt(0.1) * one, math.sqrt(0.9) * held + math.sqrt(0.1) * other
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.9, abs=1e-12)
    assert partial_correlation(x, y, held) == pytest.approx(0, abs=1e-12)
    assert partial_correlation(x, y, np.ones(40)) == pytest.approx(0.9, abs=1e-12)


def test_where_nothing_is_left_there_is_no_correlation():
    held, other, _ = directions(10).T
    assert math.isnan(partial_correlation(2 * held + 1, other, held))
    assert math.isnan(partial_correlation(np.ones(10), other, held))


def table(**columns) -> pd.DataFrame:
    """Runs whose quantities are all one column; `adversarial` 0 and accuracy the same unless said otherwise."""
    runs = pd.DataFrame({"dataset": "digits", "adversarial": 0.0, CONTROL: 0.9, "gamma": 0.1, "seed": 0} | columns)
    values = runs.pop("quantity")
    for name in (*QUANTITIES, "information_low", "information_high"):
        if name not in runs:
            runs[name] = values
    return runs


def test_alone_is_spearmans_correlation_of_the_runs_without_adversarial_training():
    random = np.random.default_rng(2)
    quantity, robust = random.normal(size=(2, 12))
    runs = table(quantity=quantity, reg="l2", adversarial=[0.0] * 10 + [0.1] * 2, **{OUTCOME: robust})
    found = correlations(runs, 5)
    assert list(found["quantity"]) == list(QUANTITIES)
    assert set(found["runs"]) == {10}
    expected = spearmanr(quantity[:10], robust[:10]).statistic
    assert {float(text.split()[0]) for text in found["alone"]} == {round(expected, 2)}


def test_within_and_between_regularisers_are_told_apart():
    """Within each of five more goes along with more, and of the five those with more have less."""
    step, group = np.tile(np.arange(4), 5), np.repeat(np.arange(5), 4)
    runs = table(quantity=10.0 * group + step, reg=[f"r{place}" for place in group], **{OUTCOME: step - 10.0 * group})
    found = {name: with_interval(runs, "lipschitz", name, 50) for name in ("alone", "within", "between")}
    assert found["within"] == pytest.approx((1, 1, 1))
    assert found["between"] == pytest.approx((-1, -1, -1))
    assert found["alone"].found < -0.8


@pytest.mark.parametrize("statistic", ["alone", "accuracy fixed", "within", "between"])
def test_seeds_that_say_the_same_make_no_interval_narrower(statistic):
    random = np.random.default_rng(4)
    quantity, robust, clean = random.normal(size=(3, 15))
    reg = [f"r{place}" for place in np.arange(15) // 3]
    one = table(quantity=quantity, reg=reg, **{OUTCOME: robust, CONTROL: clean}).assign(gamma=np.arange(15) % 3)
    three = pd.concat([one.assign(seed=seed) for seed in range(3)], ignore_index=True)
    expected = with_interval(one, "lipschitz", statistic, 50)
    assert with_interval(three, "lipschitz", statistic, 50) == pytest.approx(expected, abs=1e-12)
    apart = with_interval(three.assign(seed=0), "lipschitz", statistic, 50)
    if statistic != "between":
        assert apart.high - apart.low < 0.9 * (expected.high - expected.low), "a seed that is there twice stays apart"


def test_recipes_that_differ_in_noise_or_epochs_are_no_seeds_of_one_another():
    random = np.random.default_rng(5)
    columns = {"reg": "none", OUTCOME: random.normal(size=12), "quantity": random.normal(size=12)}
    runs = table(**columns).assign(seed=np.arange(12) % 3, epochs=np.arange(12) // 3 % 2, noise=np.arange(12) // 6)
    whole = with_interval(runs, "lipschitz", "alone", 50)
    swapped = runs.assign(gamma=runs["noise"].astype(float), noise="same")
    assert with_interval(swapped, "lipschitz", "alone", 50) == pytest.approx(whole)
    fewer = with_interval(runs.assign(epochs=1, noise="same", seed=np.arange(12)), "lipschitz", "alone", 50)
    assert (fewer.low, fewer.high) == (fewer.found, fewer.found), "one recipe, which is drawn every time"


def test_information_is_drawn_between_its_bounds_and_left_out_where_it_has_none():
    quantity = np.arange(20.0)
    exact = table(quantity=quantity, reg="l2", **{OUTCOME: quantity})
    wide = exact.assign(information_low=quantity - 15, information_high=quantity + 15)
    assert with_interval(exact, "information", "alone", 50) == pytest.approx((1, 1, 1))
    found = with_interval(wide, "information", "alone", 50)
    assert found.found == pytest.approx(1)
    assert 0 < found.low < found.high < 0.95
    unknown = exact.assign(information_low=np.where(quantity < 3, np.nan, quantity))
    counts = correlations(unknown, 5).set_index("quantity")["runs"]
    assert (counts["information"], counts["lipschitz"]) == (17, 20)
    assert correlations(exact.iloc[:4], 5).loc[0, "alone"] == ""


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    law = LAWS["half of it"]
    many = pd.concat([runs_drawn(law, np.random.default_rng(seed)) for seed in range(200)])
    ranks = many[["lipschitz", OUTCOME, CONTROL]].rank().to_numpy().T
    assert partial_correlation(*ranks) == pytest.approx(truth(law, "accuracy fixed"), abs=0.02)
    assert np.corrcoef(ranks)[0, 1] == pytest.approx(truth(law, "alone"), abs=0.02)
    assert truth(LAWS["none once accuracy is fixed"], "alone") > 0.79
    assert abs(truth(LAWS["none once accuracy is fixed"], "accuracy fixed")) < 0.08
    found = coverage(6, 40)
    assert len(found) == 2 * 4 * len(LAWS)
    assert found["held"].mean() > 0.85
    assert (found["width"] > 0.01).all()
    alike = runs_drawn(law, np.random.default_rng(0), (3, 3))
    both = alike.groupby(["reg", "gamma"])["lipschitz"].agg(["var", "mean"])
    assert len(both) == 24
    assert both["var"].mean() == pytest.approx(0.2, abs=0.08)
    assert both["mean"].var() == pytest.approx(0.8 + 0.2 / 3, rel=0.5)


def test_the_figure_shows_every_run_but_the_adversarially_trained():
    random = np.random.default_rng(3)
    runs = table(quantity=random.random(6), reg=["l2"] * 3 + ["none"] * 3, adversarial=[0, 0, 0, 0, 0, 0.1],
                 gamma=range(6), **{OUTCOME: random.random(6)})  # fmt: skip
    (ax,) = quantity_figure(runs, "fall").axes
    shown = {tuple(point) for line in ax.lines for point in line.get_xydata()}
    assert shown == set(zip(runs["fall"][:5], runs[OUTCOME][:5], strict=True))


def test_the_line_of_a_regulariser_goes_through_the_means_over_its_seeds():
    runs = table(quantity=[1.0, 3.0, 5.0, 7.0], reg="l2", **{OUTCOME: [0.1, 0.3, 0.5, 0.9]}).assign(
        gamma=[0.1, 0.1, 1.0, 1.0], seed=[0, 1, 0, 1], information=[1.0, np.nan, 5.0, 7.0]
    )
    (ax,) = quantity_figure(runs, "fall").axes
    assert ax.lines[1].get_xydata() == pytest.approx(np.array([[2, 0.2], [6, 0.7]]))
    (ax,) = quantity_figure(runs, "information").axes
    assert ax.lines[1].get_xydata() == pytest.approx(np.array([[1, 0.1], [6, 0.7]]))
