"""Several seeds of a recipe are one row: means, standard deviations and their number."""

from dataclasses import replace
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest

from ibrobust.commands import report
from ibrobust.commands.stored_results import stored_results
from ibrobust.files import released_zoo
from ibrobust.robustness.leaderboard import leaderboard, printable
from ibrobust.robustness.ranks import rank_intervals, seed_spread
from ibrobust.robustness.seeds import by_recipe
from ibrobust.robustness.storage import load_results, save_results
from tests.cards import asked_otherwise

STRICT = released_zoo() / "results" / "strict"
OURS, OTHER = (load_results(next(STRICT.glob(f"digits-mlp-{name}-*.parquet"))) for name in ("l2-g0.1", "l2-g0.01"))


def of_seed(result, seed, *, metrics=None, **changes):
    """The result as if it were of another training seed, which breaks some more samples."""
    model = result.card.model
    recipe = model.recipe.model_copy(update={"seed": seed})
    changed = model.model_copy(
        update={"recipe": recipe, "run": recipe.run_id, "metrics": model.metrics if metrics is None else metrics}
    )
    rows = result.rows.assign(pgd=result.rows["pgd"].clip(upper=0.1 - 0.02 * seed))
    return asked_otherwise(replace(result, rows=rows), model=changed, **changes)


SEEDS = [of_seed(OURS, seed) for seed in (2, 0, 1)]


def test_a_row_of_seeds_has_means_deviations_and_their_number():
    board = by_recipe([*SEEDS, OTHER])
    runs = leaderboard(SEEDS)
    row = board[board["seeds"] == 3].iloc[0]
    for name in ("robust_avg", "clean", "robust@0.05", "robust@0.1", "zero_grad", "preserved_information"):
        values = runs[name].tolist()
        assert row[name] == pytest.approx(mean(values), abs=1e-12), name
        assert row[f"{name}_sd"] == pytest.approx(stdev(values), abs=1e-12), name
    assert row["robust_avg_sd"] > 0
    assert row["run"] == f"{SEEDS[1].card.run} and 2 more seeds"
    assert (row["seed"], row["n"], row["verdict"], row["reason"]) == ("0 1 2", 500, "trusted", "")
    single = board[board["seeds"] == 1].iloc[0]
    assert pd.isna(single["robust_avg_sd"])
    (alone,) = leaderboard([OTHER]).to_dict("records")
    assert {name: single[name] for name in ("run", "clean", "robust_avg", "robust_avg_error", "seed")} == {
        name: alone[name] for name in ("run", "clean", "robust_avg", "robust_avg_error", "seed")
    }


def test_ranks_leave_open_what_seeds_do():
    board = by_recipe([*SEEDS, OTHER])
    values = [sum(result.robust_EN.sum(0) for result in SEEDS) / 3, OTHER.robust_EN.sum(0)]
    spread = seed_spread(leaderboard(SEEDS)["robust_avg"].to_numpy()) * 11
    low_M, high_M = rank_intervals(np.stack(values), whole=11, spread_M=np.array([spread, 0.0]))
    row = board[board["seeds"] == 3].iloc[0]
    assert (row["rank_low"], row["rank_high"]) == (low_M[0], high_M[0])


def test_one_seed_each_is_the_leaderboard_byte_for_byte():
    results = [OURS, OTHER, load_results(next(STRICT.glob("digits-mlp-none-g0-*.parquet")))]
    pd.testing.assert_frame_equal(by_recipe(results), leaderboard(results))


def test_a_seed_that_is_not_trusted_leaves_its_recipe_without_a_rank():
    doubted = of_seed(OURS, 1, audit=None, verdict=None)
    (row,) = by_recipe([OURS, doubted]).to_dict("records")
    assert pd.isna(row["rank"])
    assert (row["verdict"], row["reason"]) == ("unaudited", "seed 1: not audited")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(of_seed(OURS, 0), id="the same seed twice"),
        pytest.param(of_seed(OTHER, 1), id="another recipe"),
        pytest.param(of_seed(OURS, 1, norm="l2"), id="another question"),
        pytest.param(asked_otherwise(OURS, model=None), id="no recipe"),
    ],
)
def test_what_is_no_other_seed_stays_apart(other):
    assert len(by_recipe([OURS, other])) == 2


def test_a_number_that_one_seed_lacks_is_missing():
    (row,) = by_recipe([OURS, of_seed(OURS, 1, metrics={})]).to_dict("records")
    assert pd.isna(row["preserved_information"])
    assert row["robust_avg"] > 0


def test_report_groups_by_recipe_and_keeps_single_runs_where_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "_figures", lambda *_: [])
    for result in SEEDS:
        save_results(result, tmp_path / "results" / "strict" / f"{result.card.run}.parquet")
    boards = {}
    for words in ([], ["--group-by", "run"]):
        report.main([str(tmp_path / "results"), "--out", str(tmp_path / "out"), *words])
        boards[bool(words)] = pd.read_csv(tmp_path / "out" / "leaderboard.csv", dtype=str, keep_default_na=False)
        assert "robust_avg" in capsys.readouterr().out
    stored = stored_results([tmp_path / "results"])
    pd.testing.assert_frame_equal(boards[False], printable(by_recipe(stored)).astype(str))
    pd.testing.assert_frame_equal(boards[True], printable(leaderboard(stored)).astype(str))
    assert (len(boards[False]), len(boards[True])) == (1, 3)
    assert boards[False]["seeds"].tolist() == ["3"]
