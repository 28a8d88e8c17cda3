"""What is drawn is what the table says."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure

from ibrobust.commands.report import print_report
from ibrobust.figures.attacks import attacks_figure
from ibrobust.figures.robustness import (
    draw_information,
    draw_robustness,
    information_figure,
    robustness_figure,
)
from ibrobust.figures.style import BASELINE, save_figure
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.leaderboard import curves, leaderboard
from tests.cards import asked_otherwise

pytestmark = pytest.mark.usefixtures("whole_figures")


@pytest.fixture
def results(released_results):
    return released_results


@pytest.fixture
def tables(released_board, released_results):
    return released_board, curves(released_results)


def curve(run: str, gamma: float, robust: list[float], verdict: str = "trusted") -> pd.DataFrame:
    about = {"run": run, "gamma": gamma, "adversarial": 0.0, "verdict": verdict}
    return pd.DataFrame({**about, "eps": [0, 0.05, 0.1], "robust": robust})


def test_a_line_per_run_and_a_dashed_baseline():
    ax = Figure().subplots()
    lines = pd.concat([curve("a", 1e-3, [0.9, 0.5, 0.2]), curve("b", 1e-1, [0.8, 0.6, 0.3])])
    draw_robustness(ax, lines, curve("none", 0, [0.95, 0.4, 0.1]), LogNorm(1e-3, 1e-1))
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert sorted(tuple(line.get_ydata()) for line in drawn) == [(0.8, 0.6, 0.3), (0.9, 0.5, 0.2), (0.95, 0.4, 0.1)]
    assert [str(line.get_color()) for line in drawn if line.get_linestyle() == "--"] == [BASELINE["color"]]
    assert len({str(line.get_color()) for line in drawn}) == 3


def test_what_the_audit_does_not_trust_is_dotted():
    ax = Figure().subplots()
    lines = pd.concat([curve("a", 1e-3, [0.9, 0.5, 0.2]), curve("b", 1e-1, [0.8, 0.6, 0.3], "masked")])
    draw_robustness(ax, lines, curve("none", 0, [0.95, 0.4, 0.1], "suspect"), LogNorm(1e-3, 1e-1))
    drawn = {line.get_ydata()[0]: line for line in ax.lines if len(line.get_xdata()) == 3}
    assert not drawn[0.9].is_dashed()
    assert drawn[0.8].is_dashed()
    assert drawn[0.95].get_linestyle() == ":"


def test_robustness_and_accuracy_stand_above_each_other():
    ax = Figure().subplots()
    board = pd.DataFrame(
        {"gamma": [1e-3, 1e-1], "adversarial": 0.0, "verdict": ["trusted", "masked"],
         "preserved_information": [20.0, 8.0], "preserved_information_low": [18.0, 8.0],
         "preserved_information_high": [25.0, 9.0],
         "robust_avg": [0.5, 0.6], "clean": [0.9, 0.8]}
    )  # fmt: skip
    draw_information(ax, board, board[:0], LogNorm(1e-3, 1e-1))
    points = {tuple(np.asarray(point)) for part in ax.collections for point in part.get_offsets()} - {(0.0, 0.0)}
    bars = {
        tuple(end)
        for part in ax.collections
        if isinstance(part, LineCollection)
        for bar in part.get_segments()
        for end in bar
    }
    assert {(18.0, 0.5), (25.0, 0.5), (8.0, 0.6), (9.0, 0.6), (25.0, 0.9)} <= bars
    assert points == {(8.0, 0.6), (8.0, 0.8)}, "of an interval more than a nat wide no number is drawn"
    (open_bar,) = (part for part in ax.collections if isinstance(part, LineCollection) and part.get_linewidth()[0] > 2)
    assert [tuple(end) for end in open_bar.get_segments()[0]] == [(18.0, 0.5), (25.0, 0.5)]
    assert tuple(open_bar.get_color()[0]) != (0.8, 0.8, 0.8, 1.0)
    rings = [part for part in ax.collections if isinstance(part, PathCollection) and not len(part.get_facecolor())]
    assert [tuple(point) for ring in rings for point in ring.get_offsets()] == [(8.0, 0.6)]


def test_both_figures_of_the_released_zoo_name_axes_and_every_regulariser(tables):
    board, all_curves = tables
    for figure in (robustness_figure(board, all_curves), information_figure(board)):
        titles = " ".join(ax.get_title() for ax in figure.axes)
        for reg in set(board["reg"]) - {"none"}:
            assert reg in titles
        labels = {ax.get_xlabel() for ax in figure.axes} | {ax.get_ylabel() for ax in figure.axes}
        assert labels & {"ε", "preserved information (nats)"}
        assert "γ" in labels


def test_a_run_that_two_backends_attacked_has_a_line_in_a_row_of_panels_each(results):
    ours = results[:12]
    both = [*ours, *(asked_otherwise(result, backend="foolbox") for result in ours)]
    figure = robustness_figure(leaderboard(both), curves(both))
    assert sum("by foolbox" in ax.get_ylabel() for ax in figure.axes) == 1
    radii = len(ours[0].card.settings.radii)
    lines = [line for ax in figure.axes for line in ax.lines if len(line.get_xdata())]
    assert {len(line.get_xdata()) for line in lines} == {radii}
    assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in figure.axes if ax.get_title())


def test_of_a_model_without_a_recipe_every_attack_and_all_together_are_drawn(results, tmp_path):
    result = results[0]
    own = asked_otherwise(result, model=ModelRecord(run="mine"), eps=tuple(result.card.settings.radii[1:]))
    print_report([own], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"leaderboard.csv", "curves.csv", "attacks.png", "attacks.svg"}
    board, table = leaderboard([own]), curves([own])
    others = [result for result in results if result.card.settings.protocol == "strict-rand"][:1]
    figure = attacks_figure(board, pd.concat([table, curves(others)]))
    ax, bars = figure.axes
    assert ax.get_title(loc="left").startswith("mine\n")
    assert len(ax.lines) == table["attack"].nunique()
    for line, (_, rows) in zip(ax.lines, table.groupby("attack", sort=False), strict=True):
        assert list(line.get_xdata()) == [0, *rows["eps"]]
        assert list(line.get_ydata()) == [board["clean"][0], *rows["robust"]]
    left = table[table["eps"] == table["eps"].max()].set_index("attack")["robust"]
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert {name: bar.get_width() for name, bar in zip(names, bars.patches, strict=True)} == dict(left)
    assert [text.get_text() for text in bars.texts] == [f"{left[name]:.3f}" for name in names]
    assert names[-1] == "all"
    assert list(left[names[:-1]]) == sorted(left[names[:-1]], reverse=True)
    assert {to_hex(line.get_color()) for line in ax.lines} == {to_hex(bar.get_facecolor()) for bar in bars.patches}


def test_long_names_stay_above_their_own_panels(results):
    strict = [result for result in results if result.card.settings.protocol == "strict"][:2]
    named = [
        asked_otherwise(result, model=ModelRecord(run=60 * f"{letter}-"))
        for result, letter in zip(strict, "WM", strict=True)
    ]
    figure = attacks_figure(leaderboard(named), curves(named))
    figure.draw_without_rendering()
    titles = [ax._left_title.get_window_extent() for ax in figure.axes if ax.get_title(loc="left")]
    assert len(titles) == 2
    assert not titles[0].overlaps(titles[1])
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in titles)


def test_every_panel_has_numbers_at_its_axis_and_accuracy_begins_below_the_smallest(tables):
    board, all_curves = tables[0].query("dataset == 'mnist' and protocol == 'strict'"), tables[1]
    for figure in (robustness_figure(board, all_curves), information_figure(board)):
        panels = [ax for ax in figure.axes if ax.get_title()]
        assert len(panels) == 7
        figure.draw_without_rendering()
        assert all(any(label.get_text() for label in ax.get_xticklabels() if label.get_visible()) for ax in panels)
        assert all(ax.xaxis.get_tick_params()["labelbottom"] for ax in panels)
    low, high = panels[0].get_ylim()
    assert low == pytest.approx(0.5)
    assert 0 < board["robust_avg"].min() - low < 0.13
    assert high > 1


def test_the_same_table_gives_the_same_bytes(results, tmp_path):
    board = leaderboard(results[:12])
    first = save_figure(information_figure(board), tmp_path / "first")
    second = save_figure(information_figure(board), tmp_path / "second")
    assert [path.suffix for path in first] == [".png", ".svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
