"""Figures and curves of several training seeds: means, and bands and bars that are their standard deviation."""

from statistics import mean, stdev
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from ibrobust.commands import report
from ibrobust.figures.robustness import information_figure, robustness_figure
from ibrobust.robustness.leaderboard import curves, leaderboard
from ibrobust.robustness.seeds import by_recipe, curves_by_recipe
from ibrobust.robustness.storage import load_results
from tests.test_seeds import OTHER, SEEDS, STRICT, of_seed

BASELINE = load_results(next(STRICT.glob("digits-mlp-none-g0-*.parquet")))
RESULTS = [*SEEDS, OTHER, BASELINE]


def bands(figure: Figure) -> list[PolyCollection]:
    return [part for ax in figure.axes if ax.get_title() for part in ax.collections if isinstance(part, PolyCollection)]


def upright_bars(figure: Figure) -> set[tuple[float, ...]]:
    segments = [
        segment
        for ax in figure.axes
        if ax.get_title()
        for part in ax.collections
        if isinstance(part, LineCollection)
        for segment in part.get_segments()
    ]
    return {tuple(np.round(segment.ravel(), 9)) for segment in segments if segment[0, 0] == segment[1, 0]}


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_curve_of_seeds_is_their_mean_with_their_deviation():
    table = curves_by_recipe(RESULTS)
    (name,) = by_recipe(RESULTS).query("seeds == 3")["run"]
    each = [curves([seed]).set_index(["attack", "eps"])["robust"] for seed in SEEDS]
    rows = table[table["run"] == name]
    assert len(rows) == len(each[0])
    for _, row in rows.iterrows():
        values = [of_seed[row["attack"], row["eps"]] for of_seed in each]
        assert row["robust"] == pytest.approx(mean(values), abs=1e-12)
        assert row["robust_sd"] == pytest.approx(stdev(values), abs=1e-12)
    assert rows["robust_sd"].max() > 0
    alone = table[table["run"] == OTHER.card.run]
    assert alone["robust_sd"].isna().all()
    assert alone["robust"].tolist() == curves([OTHER])["robust"].tolist()
    assert set(table["run"]) == set(by_recipe(RESULTS)["run"])


def test_a_share_is_certain_of_seeds_where_it_is_of_each():
    shares = [np.full(len(SEEDS[0].radii_E), share) for share in (0.1, 0.2, 0.6)]
    known = curves_by_recipe(SEEDS, shares).query("attack == 'all'")["certified"]
    assert known.tolist() == pytest.approx([0.3] * len(known))
    assert curves_by_recipe(SEEDS, [shares[0], None, shares[2]])["certified"].isna().all()


def test_the_line_of_seeds_lies_in_a_band_of_one_deviation_and_a_single_seed_in_none():
    table = curves_by_recipe(RESULTS)
    figure = robustness_figure(by_recipe(RESULTS), table)
    (band,) = bands(figure)
    rows = table.query("attack == 'all'").dropna(subset="robust_sd")
    ends = {(row.eps, row.robust + side * row.robust_sd) for row in rows.itertuples() for side in (-1, 1)}
    corners = {tuple(corner) for corner in np.round(band.get_paths()[0].vertices, 9)}
    assert {tuple(np.round(end, 9)) for end in ends} == corners
    assert labels(figure)[-1] == "mean ± standard deviation of 3 seeds"
    assert sum(len(line.get_xdata()) > 1 for line in figure.axes[0].lines) == 3


def test_points_of_seeds_have_an_upright_bar_of_one_deviation_for_each_number():
    board = by_recipe(RESULTS)
    figure = information_figure(board)
    row = board[board["seeds"] == 3].iloc[0]
    known = row["preserved_information_high"] - row["preserved_information_low"] <= 1
    middle = (row["preserved_information_low"] + row["preserved_information_high"]) / 2
    x = row["preserved_information"] if known else middle
    expected = {
        (x, row[name] - row[f"{name}_sd"], x, row[name] + row[f"{name}_sd"]) for name in ("robust_avg", "clean")
    }
    assert upright_bars(figure) == {tuple(np.round(bar, 9)) for bar in expected}
    assert labels(figure)[-1] == "mean ± standard deviation of 3 seeds"


def test_where_numbers_of_seeds_differ_the_legend_names_both_ends():
    baselines = [BASELINE, of_seed(BASELINE, 1)]
    results = [*SEEDS, *baselines]
    figure = robustness_figure(by_recipe(results), curves_by_recipe(results))
    assert labels(figure)[-1] == "mean ± standard deviation of 2 to 3 seeds"
    assert len(bands(figure)) == 2


def test_single_seeds_are_drawn_from_the_same_tables():
    singles = [SEEDS[0], OTHER, BASELINE]
    pd.testing.assert_frame_equal(curves_by_recipe(singles), curves(singles))
    figure = robustness_figure(leaderboard(singles), curves(singles))
    assert bands(figure) == []
    assert not any("seeds" in label for label in labels(figure))
    assert upright_bars(information_figure(leaderboard(singles))) == set()


@pytest.mark.parametrize(("words", "runs"), [([], 2), (["--group-by", "run"], 4)])
def test_report_draws_what_its_table_groups(words, runs, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        report,
        "stored_entries",
        lambda _: [SimpleNamespace(results=result, certain=None) for result in [*SEEDS, OTHER]],
    )
    monkeypatch.setattr(report, "stored_corruptions", lambda _: [])
    monkeypatch.setattr(report, "_figures", lambda board, lines, _: drawn.append((board, lines)) or [])
    report.main([str(tmp_path), "--out", str(tmp_path), *words])
    ((board, lines),) = drawn
    assert len(board) == runs
    assert set(lines["run"]) == set(board["run"])
    assert len(set(pd.read_csv(tmp_path / "curves.csv")["run"])) == 4
