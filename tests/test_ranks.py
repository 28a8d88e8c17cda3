"""Intervals of ranks: held by simulations with a known order, by a slow computation, and by what is plain."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ranks import held, survived
from ibrobust.files import released_zoo
from ibrobust.robustness.leaderboard import leaderboard, printable
from ibrobust.robustness.ranks import MOST_RESAMPLES, rank_intervals, seed_spread
from ibrobust.robustness.storage import load_results

PATHS = sorted((released_zoo() / "results" / "strict").glob("digits-mlp-l2-*.parquet"))


def slowly(values_MN, whole):
    """Ranks that are left open, pair by pair: which differences are beyond the largest deviation of those in doubt."""
    models, n = values_MN.shape
    drawn_RN = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=MOST_RESAMPLES)
    pairs, sure = [(a, b) for a in range(models) for b in range(models) if a < b], set()
    while True:
        largest_R = np.zeros(MOST_RESAMPLES)
        for a, b in set(pairs) - sure:
            apart_N = values_MN[a] - values_MN[b]
            if apart_N.std() > 0:
                deviation_R = np.abs(drawn_RN @ apart_N - apart_N.sum()) / (np.sqrt(n) * apart_N.std())
                largest_R = np.maximum(largest_R, deviation_R)
        limit = max(1.959964, sorted(largest_R)[int(np.ceil(0.95 * (MOST_RESAMPLES + 1))) - 1])
        apart = {pair: values_MN[pair[0]] - values_MN[pair[1]] for pair in set(pairs) - sure}
        found = {pair for pair, d_N in apart.items() if abs(d_N.sum()) > limit * np.sqrt(n * d_N.var() + whole**2)}
        sure |= found
        if not found:
            break
    means_M = values_MN.mean(1)
    better = [(b, a) if means_M[a] > means_M[b] else (a, b) for a, b in sure]
    low = [1 + sum(worse == model for worse, _ in better) for model in range(models)]
    return low, [models - sum(other == model for _, other in better) for model in range(models)]


def simulated(spread, models=8, n=150, seed=0):
    rng = np.random.default_rng(seed)
    return survived(np.linspace(spread, 0, models), rng.standard_normal(n), rng)


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_intervals_are_those_of_a_slow_computation(spread):
    values_MN = simulated(spread)
    low_M, high_M = rank_intervals(values_MN, whole=11)
    assert (low_M.tolist(), high_M.tolist()) == slowly(values_MN, 11)


def test_tied_models_have_all_their_ranks_in_nineteen_of_twenty_tables():
    assert 0.93 <= held(np.zeros(4), 100, 300)["all"] <= 0.97


@pytest.mark.parametrize("spread", [1e-6, 0.3])
def test_models_in_order_have_their_rank_at_least_as_often(spread):
    found = held(np.linspace(spread, 0, 4), 100, 100)
    assert found["all"] >= 0.95
    assert found["ranks"] < 4


def test_the_order_of_the_models_changes_nothing():
    values_MN = simulated(0.5)
    low_M, high_M = rank_intervals(values_MN, whole=11)
    for order in (np.arange(8)[::-1], np.random.default_rng(1).permutation(8)):
        other = rank_intervals(values_MN[order], whole=11)
        assert (other.low_M.tolist(), other.high_M.tolist()) == (low_M[order].tolist(), high_M[order].tolist())


@pytest.mark.parametrize(("only_one", "sure"), [(0, False), (1, False), (4, False), (8, True), (500, True)])
def test_a_few_samples_that_differ_are_no_difference(only_one, sure):
    first_N = np.ones(500, int)
    second_N = np.where(np.arange(500) < only_one, 0, 1)
    low_M, high_M = rank_intervals(np.stack([first_N, second_N]))
    assert (low_M.tolist(), high_M.tolist()) == (([1, 2], [1, 2]) if sure else ([1, 1], [2, 2]))


@pytest.mark.parametrize(("models", "n"), [(1, 5), (3, 1), (4, 2)])
def test_the_smallest_tables_leave_all_ranks_open(models, n):
    low_M, high_M = rank_intervals(np.eye(models, n))
    assert (set(low_M), set(high_M)) == ({1}, {models})


def test_what_seeds_move_widens_the_intervals():
    values_MN = simulated(1.0)
    spread_M = np.full(8, seed_spread(np.array([4.0, 5.0, 6.0])))
    assert spread_M[0] == pytest.approx(4.302653 / 1.959964 / np.sqrt(3), rel=1e-6)
    assert seed_spread(np.array([4.0])) == 0
    (low_M, high_M), (wide_low_M, wide_high_M) = (
        rank_intervals(values_MN, whole=11, spread_M=spread) for spread in (None, spread_M)
    )
    assert (wide_low_M <= low_M).all()
    assert (wide_high_M >= high_M).all()
    assert (wide_high_M - wide_low_M).sum() > (high_M - low_M).sum()


def test_the_leaderboard_says_which_ranks_are_open_and_who_may_lead():
    ranked = [load_results(path) for path in PATHS]
    unranked = load_results(released_zoo() / "results" / "paper" / PATHS[0].name)
    board = leaderboard([*ranked, unranked])
    values = {result.card.run: result.robust_EN.sum(0) for result in ranked}
    low_M, high_M = rank_intervals(np.stack([values[run] for run in board["run"][:-1]]), whole=11)
    assert board["rank_low"][:-1].tolist() == low_M.tolist()
    assert board["rank_high"][:-1].tolist() == high_M.tolist()
    assert (low_M == 1).sum() > 1
    assert board["tied"].tolist() == ["yes" if low == 1 else "" for low in low_M] + [""]
    assert printable(board)[["rank", "rank_low", "rank_high"]].iloc[-1].tolist() == ["", "", ""]
    assert list(leaderboard([unranked]))[:2] == ["rank", "run"], "nothing is said of ranks where there is none"


def test_samples_are_paired_by_their_ids_and_not_by_the_rows_they_are_in():
    ranked = [load_results(path) for path in PATHS]
    shuffled = [replace(each, rows=each.rows.sample(frac=1, random_state=k)) for k, each in enumerate(ranked)]
    columns = ["run", "rank", "rank_low", "rank_high", "tied"]
    assert leaderboard(shuffled)[columns].equals(leaderboard(ranked)[columns])
