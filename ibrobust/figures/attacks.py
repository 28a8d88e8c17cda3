"""What each attack leaves of a model, and what all of them leave together."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ibrobust.figures.robustness import ASKED, PANELS_TO_A_ROW, STYLE, UNIT, from_clean, in_words
from ibrobust.robustness.readings import NULL_ATTACK
from ibrobust.robustness.results import ALL_ATTACKS


def draw_attacks(ax: Axes, curves: pd.DataFrame, colours: dict[str, str]) -> None:
    """Robust accuracy against ε, a line per attack; that of all attacks is black and wide.

    Args:
        curves: attack, eps, robust.
        colours: by attack.
    """
    for attack, line in curves.groupby("attack", sort=False, observed=True):
        ax.plot(line["eps"], line["robust"], **_line(str(attack), colours))
    largest = curves["eps"].max()
    ax.set(xlabel="ε", ylabel="robust accuracy", ylim=UNIT, xticks=[0, largest / 2, largest])


def attacks_figure(board: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """A panel per row of the leaderboard.

    Args:
        board: some rows of a leaderboard.
        curves: the curves of their results, and maybe of others.
    """
    table = from_clean(curves.merge(board))
    results: list[tuple[Any, pd.DataFrame]] = list(table.groupby(["run", *ASKED]))
    attacks = list(dict.fromkeys(table["attack"]))
    named = [attack for attack in attacks if attack not in (ALL_ATTACKS, NULL_ATTACK)]
    colours = dict(zip(named, sns.color_palette("colorblind", len(named)).as_hex(), strict=True))
    columns = min(len(results), PANELS_TO_A_ROW)
    rows = -(-len(results) // columns)
    with rc_context(STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(2.6 * columns + 1.2, 2.6 * rows + 0.5), layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for ax, ((run, *asked), lines) in zip(axes.flat, results, strict=False):
            draw_attacks(ax, lines, colours)
            ax.set_title("\n".join([run, *in_words(asked)]))
        for ax in axes.flat[len(results) :]:
            ax.set_axis_off()
        for ax in axes[:, 1:].flat:
            ax.set_ylabel("")
        sns.despine(figure)
        handles = [Line2D([], [], label=attack, **_line(attack, colours)) for attack in attacks]
        figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _line(attack: str, colours: dict[str, str]) -> dict[str, Any]:
    if attack == ALL_ATTACKS:
        return {"color": "black", "linewidth": 2.2, "zorder": 1}
    if attack == NULL_ATTACK:
        return {"color": "gray", "linestyle": ":", "linewidth": 1.2}
    return {"color": colours[attack], "linewidth": 1.2}
