"""What each attack leaves of a model, and what all of them leave together."""

from textwrap import wrap
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ibrobust.figures.robustness import QUESTION, draw_certain, from_clean, in_words
from ibrobust.figures.style import STYLE, TOP, literal
from ibrobust.robustness.readings import NULL_ATTACK
from ibrobust.robustness.results import ALL_ATTACKS

_RESULTS_TO_A_ROW = 2
_TITLE_WIDTH = 48
"""Letters that have room above the two panels of a result."""


def draw_attacks(ax: Axes, curves: pd.DataFrame, colours: dict[str, str]) -> None:
    """Robust accuracy against ε, a line per attack; that of all attacks is black and wide, with a hatched band
    down to what is certain where that is known.

    Args:
        curves: attack, eps, robust, and maybe certified.
        colours: by attack.
    """
    for attack, line in curves.groupby("attack", sort=False, observed=True):
        ax.plot(line["eps"], line["robust"], **_line(str(attack), colours))
        if attack == ALL_ATTACKS:
            draw_certain(ax, line)
    largest = curves["eps"].max()
    ax.set(xlabel="ε", ylabel="robust accuracy", ylim=(0, TOP), xticks=[0, largest / 2, largest])
    ax.xaxis.set_major_formatter("{x:g}")


def draw_shares(ax: Axes, curves: pd.DataFrame, colours: dict[str, str]) -> None:
    """What each attack leaves at the largest radius: a bar with its name and its number, the weakest attack on top.

    Args:
        curves, colours: as `draw_attacks` takes them.
    """
    largest = curves["eps"].max()
    left = curves[curves["eps"] == largest].sort_values("robust", ascending=False, kind="stable")
    alone = left[~left["attack"].isin([ALL_ATTACKS, NULL_ATTACK])]
    rows = pd.concat([left[left["attack"] == NULL_ATTACK], alone, left[left["attack"] == ALL_ATTACKS]])
    names = [str(attack) for attack in rows["attack"]]
    bars = ax.barh(
        [literal(name) for name in names], rows["robust"], color=[_line(name, colours)["color"] for name in names]
    )
    ax.bar_label(bars, labels=[f"{share:.3f}" for share in rows["robust"]], padding=2, fontsize=7)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0, labelsize=7)
    ax.set(xlabel=f"left at ε = {largest:g}", xlim=(0, 1.25), xticks=[0, 0.5, 1])  # room for the number of a bar of 1
    ax.xaxis.set_major_formatter("{x:g}")


def attacks_figure(board: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Two panels per row of the leaderboard: curves, and what each attack leaves at the largest radius.

    Args:
        board: some rows of a leaderboard.
        curves: the curves of their results, and maybe of others.
    """
    table = from_clean(curves.merge(board))
    results: list[tuple[Any, pd.DataFrame]] = list(table.groupby(["run", *QUESTION]))
    attacks = [str(attack) for attack in dict.fromkeys(table["attack"])]
    named = [attack for attack in attacks if attack not in (ALL_ATTACKS, NULL_ATTACK)]
    colours = dict(zip(named, sns.color_palette("colorblind", len(named)).as_hex(), strict=True))
    columns = min(len(results), _RESULTS_TO_A_ROW)
    rows = -(-len(results) // columns)
    height = max(2.6, 0.9 + 0.19 * len(attacks))
    with rc_context(STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(5.0 * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, 2 * columns, squeeze=False)
        pairs = axes.reshape(-1, 2)
        for (curve, bars), ((run, *question), lines) in zip(pairs, results, strict=False):
            draw_attacks(curve, lines, colours)
            draw_shares(bars, lines, colours)
            lines_of_title = [part for line in (literal(run), *in_words(question)) for part in wrap(line, _TITLE_WIDTH)]
            curve.set_title("\n".join(lines_of_title), loc="left")
        for ax in pairs[len(results) :].flat:
            ax.set_axis_off()
        sns.despine(figure)
    return figure


def _line(attack: str, colours: dict[str, str]) -> dict[str, Any]:
    if attack == ALL_ATTACKS:
        return {"color": "black", "linewidth": 2.2, "zorder": 1}
    if attack == NULL_ATTACK:
        return {"color": "gray", "linestyle": ":", "linewidth": 1.2}
    return {"color": colours[attack], "linewidth": 1.2}
