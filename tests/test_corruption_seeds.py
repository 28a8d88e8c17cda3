"""Results under corruptions of several training seeds: one row of means, deviations and their number."""

from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest

from ibrobust.robustness.card_records import CorruptionRecord
from ibrobust.robustness.corruption_board import with_corruptions
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.leaderboard import leaderboard, printable
from ibrobust.robustness.ranks import rank_intervals, seed_spread
from ibrobust.robustness.seeds import by_recipe
from ibrobust.robustness.statistics import mean_error
from tests.cards import card
from tests.test_seeds import OTHER, OURS, SEEDS

NAMES = ["fog", "snow"]
SAMPLES = 40


def corrupted(result, *, seed):
    """Made results under two corruptions of the model that a result is of."""
    drawn = np.random.default_rng(seed)
    label = np.arange(SAMPLES) % 3
    rows = {"sample": np.arange(SAMPLES), "label": label, "prediction": np.where(drawn.random(SAMPLES) < 0.9, label, 9)}
    for name in NAMES:
        for severity in range(1, 6):
            right = drawn.random(SAMPLES) < 0.9 - 0.05 * severity
            rows[f"{name}@{severity}"] = np.where(right, label, 9)
    about = {"model": result.card.model, "corruptions": CorruptionRecord(names=NAMES, made="by hand")}
    return CorruptionResults(pd.DataFrame(rows), card(data="digits", protocol="corruptions").model_copy(update=about))


OF_SEEDS = [corrupted(result, seed=3 + place) for place, result in enumerate(SEEDS)]
ALONE = corrupted(OTHER, seed=9)
REFERENCE = dict.fromkeys(NAMES, 0.5)


@pytest.fixture(scope="module")
def board():
    return with_corruptions(None, [*OF_SEEDS, ALONE], REFERENCE, group_by="recipe")


def test_numbers_are_means_with_their_deviations(board):
    row = board[board["seeds"] == 3].iloc[0]
    for name, values in (
        ("clean", [result.clean for result in OF_SEEDS]),
        ("corruption_avg", [result.corruption_avg for result in OF_SEEDS]),
        ("mce", [result.mce(REFERENCE) for result in OF_SEEDS]),
    ):
        assert row[name] == pytest.approx(mean(values), abs=1e-12), name
        assert row[f"{name}_sd"] == pytest.approx(stdev(values), abs=1e-12), name
        assert stdev(values) > 0
    share_N = np.mean([result.right_CSN.mean((0, 1)) for result in OF_SEEDS], axis=0)
    assert row["corruption_avg_error"] == pytest.approx(mean_error(share_N), abs=1e-12)
    assert (row["run"], row["seed"]) == (f"{SEEDS[1].card.run} and 2 more seeds", "0 1 2")
    names = list(board)
    assert names[names.index("corruption_avg") + 1] == "corruption_avg_sd"
    assert names[-2:] == ["group", "seeds"]


def test_a_single_seed_keeps_its_row(board):
    single = board[board["seeds"] == 1].iloc[0]
    alone = with_corruptions(None, [ALONE], REFERENCE).iloc[0]
    kept = [name for name in alone.index if name not in ("rank", "rank_low", "rank_high", "tied")]
    assert single[kept].to_dict() == alone[kept].to_dict()
    assert pd.isna(single["corruption_avg_sd"])


def test_ranks_leave_open_what_seeds_do(board):
    values = [np.mean([result.right_CSN.sum((0, 1)) for result in OF_SEEDS], axis=0), ALONE.right_CSN.sum((0, 1))]
    spread = seed_spread(np.array([result.corruption_avg for result in OF_SEEDS])) * 10
    low_M, high_M = rank_intervals(np.stack(values), whole=10, spread_M=np.array([spread, 0.0]))
    row = board[board["seeds"] == 3].iloc[0]
    assert (row["rank_low"], row["rank_high"]) == (low_M[0], high_M[0])


def test_rows_of_attacks_stand_above_with_their_own_numbers_of_seeds(board):
    attacked = by_recipe([*SEEDS, OTHER])
    whole = with_corruptions(attacked, [*OF_SEEDS, ALONE], REFERENCE, group_by="recipe")
    assert sorted(whole["seeds"][:2]) == sorted(whole["seeds"][2:]) == [1, 3]
    pd.testing.assert_frame_equal(whole[list(attacked)][:2], attacked, check_dtype=False)
    assert whole["corruption_avg_sd"][2:].dropna().tolist() == board["corruption_avg_sd"].dropna().tolist()
    below_single = with_corruptions(leaderboard([OURS]), OF_SEEDS, group_by="recipe")
    assert below_single["seeds"].tolist() == [1, 3]
    text = printable(below_single)
    assert text["corruption_avg_sd"].tolist() == ["", f"{stdev(r.corruption_avg for r in OF_SEEDS):.4f}"]


@pytest.mark.parametrize("above", [None, "attacks"])
def test_one_seed_each_is_the_same_table(above):
    attacked = None if above is None else leaderboard([OURS, OTHER])
    results = [OF_SEEDS[0], ALONE]
    pd.testing.assert_frame_equal(
        with_corruptions(attacked, results, group_by="recipe"), with_corruptions(attacked, results)
    )
    assert len(with_corruptions(attacked, OF_SEEDS)) == 3 + (0 if above is None else 2)
