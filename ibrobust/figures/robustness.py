"""The two pictures: robustness against ε, and mean robustness against preserved information."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps, rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import SymmetricalLogLocator

from ibrobust.entropies.intervals import told
from ibrobust.figures.references import reference_handles, reference_line, with_places
from ibrobust.figures.style import PALETTE, PANELS_TO_A_ROW, STYLE, TOP, gamma_norm, literal
from ibrobust.robustness.settings import TOLD

_NORM_SYMBOLS = {"linf": "L∞", "l2": "L2", "l1": "L1"}
QUESTION = ["dataset", *TOLD]
"""Columns that say what was measured, of whatever run: data, attacks, norm, noise view, backend, kind of columns."""
_DOUBTED: Any = ":"
"""The line of a run whose robustness an audit does not trust; its marker gets a ring."""
_RING: dict[str, Any] = {"s": 90, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8, "zorder": 4}
_SEEDS_BAND: dict[str, Any] = {"alpha": 0.3, "linewidth": 0}
_CERTAIN_BAND: dict[str, Any] = {"hatch": "/////", "linewidth": 0, "alpha": 0.6}
_NOT_TRUSTED = "audit: not to be trusted"


def draw_robustness(ax: Axes, curves: pd.DataFrame, baseline: pd.DataFrame, norm: LogNorm) -> None:
    """All-attack robustness against ε, a line per run coloured by γ; the unregularised baseline black and dashed
    (Kirsch et al. figures 5, G.13). What an audit does not trust is dotted. Of several seeds the line is the mean, in a
    band of one standard deviation to both sides.

    Args:
        curves, baseline: run, gamma, adversarial, verdict, eps, robust, and maybe robust_sd.
    """
    if len(curves):
        sns.lineplot(
            curves.assign(doubted=_doubted(curves)), x="eps", y="robust", hue="gamma", hue_norm=norm, palette=PALETTE,
            style="doubted", dashes={False: "", True: (1, 1)}, units="run", estimator=None, linewidth=1.5, legend=False,
            ax=ax,
        )  # fmt: skip
    for _, line in baseline.groupby("run"):
        style = reference_line(line.iloc[0])
        if _doubted(line).any():
            style |= {"linestyle": _DOUBTED}
        ax.plot(line["eps"], line["robust"], **style)
    for _, line in curves.groupby("run"):
        colour = colormaps[PALETTE](norm(line["gamma"].iloc[0]))
        draw_certain(ax, line, colour)
        _draw_deviation(ax, line, colour)
    for _, line in baseline.groupby("run"):
        draw_certain(ax, line)
        _draw_deviation(ax, line, reference_line(line.iloc[0])["color"])
    largest = pd.concat([curves["eps"], baseline["eps"]]).max()
    ax.set(xlabel="ε", ylabel="all-attack robust accuracy", ylim=(0, TOP), xticks=[0, largest / 2, largest])
    ax.xaxis.set_major_formatter("{x:g}")


def draw_certain(ax: Axes, line: pd.DataFrame, colour: Any = "0.5") -> None:
    """A hatched band with a thin lower edge, from what is certain to what all attacks leave, where a run is certified:
    the truth lies in it. The band of seeds is filled.

    Args:
        line: eps, robust, and maybe certified.
    """
    if "certified" in line and line["certified"].notna().any():
        low, high = line["certified"].to_numpy(dtype=float), line["robust"].to_numpy(dtype=float)
        ax.fill_between(line["eps"], low, high, facecolor="none", edgecolor=colour, zorder=0.6, **_CERTAIN_BAND)
        ax.plot(line["eps"], low, color=colour, linewidth=0.6, zorder=0.6)


def _draw_deviation(ax: Axes, line: pd.DataFrame, colour: Any) -> None:
    """A band of one standard deviation over seeds to both sides of their mean, where there are several."""
    if "robust_sd" in line and line["robust_sd"].notna().any():
        low, high = line["robust"] - line["robust_sd"], line["robust"] + line["robust_sd"]
        ax.fill_between(line["eps"], low, high, color=colour, zorder=0.5, **_SEEDS_BAND)


def draw_information(ax: Axes, board: pd.DataFrame, baseline: pd.DataFrame, norm: LogNorm) -> None:
    """Mean robustness (○) and clean accuracy (×) against preserved information, coloured by γ, with what the bounds on
    the information leave open as a horizontal bar (figure G.14). Where they lie too far apart for a number there is no
    marker, and the bar has its colour. Robustness that an audit does not trust has a ring. Of several seeds all of it
    is the mean, with a vertical bar of one standard deviation to both sides.

    Args:
        board, baseline: gamma, adversarial, verdict, preserved_information with its _low and _high, robust_avg, clean,
            and maybe seeds with robust_avg_sd and clean_sd.
    """
    board, baseline = _with_told_information(board), _with_told_information(baseline)
    for values, marker in (("robust_avg", "o"), ("clean", "X")):
        for table in (board, baseline):
            _draw_intervals(ax, table, values, norm)
            if "seeds" in table:
                _draw_deviations(ax, table[table["seeds"] > 1], values)
        ax.scatter(baseline["preserved_information"], baseline[values], marker=marker, color="black", s=30, zorder=2)
        if len(board):
            sns.scatterplot(
                board, x="preserved_information", y=values, hue="gamma", hue_norm=norm, palette=PALETTE, marker=marker,
                s=45, legend=False, ax=ax, zorder=3,
            )  # fmt: skip
    ringed = pd.concat([table[_doubted(table)] for table in (board, baseline)])
    ax.scatter(ringed["preserved_information"], ringed["robust_avg"], **_RING)
    for _, row in baseline.iterrows():
        ax.axhline(row["robust_avg"], **reference_line(row))
    ax.set(xlabel="preserved information (nats)", ylabel="accuracy", ylim=(0, TOP))
    # Logarithmic from one nat on: most of what a bottleneck does lies below ten. Linear below, since some keep nothing.
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xlim(left=-0.1)
    ax.xaxis.set_major_locator(SymmetricalLogLocator(linthresh=1, base=10, subs=[1, 3]))
    ax.xaxis.set_major_formatter("{x:g}")


def _with_told_information(table: pd.DataFrame) -> pd.DataFrame:
    names = [f"preserved_information{end}" for end in ("", "_low", "_high")]
    return table.assign(preserved_information=told(*(table[name] for name in names)))


def _open_handles(board: pd.DataFrame) -> list[Line2D]:
    untold = _with_told_information(board)["preserved_information"].isna()
    if not (untold & np.isfinite(board["preserved_information_high"])).any():
        return []
    return [Line2D([], [], color="gray", linewidth=2.5, label="bounds, where they leave no number")]


def _draw_intervals(ax: Axes, table: pd.DataFrame, values: str, norm: LogNorm) -> None:
    """What the bounds leave open: grey behind a marker, in the marker's colour where there is none."""
    known = table[np.isfinite(table["preserved_information_high"])]
    colours = sns.color_palette(PALETTE, as_cmap=True)
    for _, row in known.iterrows():
        gamma = row["gamma"]
        own = colours(norm(gamma)) if gamma > 0 else "black"
        low, high = row["preserved_information_low"], row["preserved_information_high"]
        alone = {"color": own, "linewidth": 2.5 if values == "robust_avg" else 1.0}
        behind = {"color": "0.8", "linewidth": 2}
        ax.hlines(row[values], low, high, zorder=1, **(alone if np.isnan(row["preserved_information"]) else behind))


def _draw_deviations(ax: Axes, table: pd.DataFrame, values: str) -> None:
    """What seeds do to the accuracy: a vertical bar through the marker, above it so that a small deviation can be seen,
    or through the middle of the bounds."""
    for _, row in table.iterrows():
        middle = (row["preserved_information_low"] + row["preserved_information_high"]) / 2
        x = middle if np.isnan(row["preserved_information"]) else row["preserved_information"]
        if np.isfinite(x):
            mean, deviation = row[values], row[f"{values}_sd"]
            ax.vlines(x, mean - deviation, mean + deviation, color="black", linewidth=0.8, zorder=4)


def robustness_figure(board: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """A panel per regulariser and a row per data set, protocol, norm and whatever else tells results apart.

    Args:
        board: a leaderboard, of runs or with a row for all seeds of a recipe; a column `apart` tells unregularised rows
            apart, which have dashes of their own then.
        curves: the curves of its rows.
    """
    table = from_clean(curves.query("attack == 'all'").merge(with_places(board)))
    title = "Robustness against all attacks"
    handles: list[Artist] = list(reference_handles(table))
    handles += [Line2D([], [], color="gray", linestyle=_DOUBTED, label=_NOT_TRUSTED)] if _doubted(table).any() else []
    if "certified" in table:
        handles.append(Patch(facecolor="none", edgecolor="0.3", label="from certain to attacked", **_CERTAIN_BAND))
    if seeds := _seeds_in_words(board):
        handles.append(Line2D([], [], color="gray", alpha=_SEEDS_BAND["alpha"], linewidth=6, label=seeds))
    return _panels(table, title, draw_robustness, handles)


def information_figure(board: pd.DataFrame) -> Figure:
    """A panel per regulariser and a row per data set, protocol and norm.

    Args:
        board: a leaderboard; a column `apart` tells unregularised rows apart, which have dashes of their own then.
    """
    board = with_places(board)
    handles = [
        Line2D([], [], marker="o", color="gray", linestyle="", label="robust, mean over ε"),
        Line2D([], [], marker="X", color="gray", linestyle="", label="clean"),
        *_open_handles(board),
        *reference_handles(board),
    ]
    if _doubted(board).any():
        ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": _RING["edgecolors"]}
        handles.append(Line2D([], [], marker="o", linestyle="", label=_NOT_TRUSTED, **ring))
    if seeds := _seeds_in_words(board):
        handles.append(Line2D([], [], marker="|", markersize=9, color="black", linestyle="", label=seeds))
    figure = _panels(board, "Robustness and what the latent remembers", draw_information, handles)
    shown = board[board["reg"] != ""]
    shares = shown[["clean", "robust_avg"]].to_numpy(dtype=float)
    if "seeds" in shown:
        shares = shares - shown[["clean_sd", "robust_avg_sd"]].fillna(0).to_numpy(dtype=float)
    for ax in (ax for ax in figure.axes if ax.get_title()):
        ax.set_ylim(_lowest_tick(shares.min()), TOP)
    return figure


def _seeds_in_words(board: pd.DataFrame) -> str:
    """What a band is, and of how many seeds; empty where each recipe has one."""
    counts = sorted({int(count) for count in board["seeds"] if count > 1}) if "seeds" in board else []
    if not counts:
        return ""
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean ± standard deviation of {number} seeds"


def _lowest_tick(share: float) -> float:
    """The tenth below a share, with room for its marker."""
    return max(0.0, math.floor(10 * (share - 0.03)) / 10)


def _panels(
    table: pd.DataFrame,
    title: str,
    draw: Callable[[Axes, pd.DataFrame, pd.DataFrame, LogNorm], None],
    handles: Sequence[Artist],
) -> Figure:
    """One panel per regulariser; a row per group, or up to four to a row where there is one group."""
    trained = table[table["reg"] != ""]
    groups = list(trained.groupby(QUESTION))
    regs = sorted(set(trained["reg"]) - {"none"}) or ["none"]
    rows_each = -(-len(regs) // PANELS_TO_A_ROW) if len(groups) == 1 else 1
    columns = -(-len(regs) // rows_each)
    lines = len(groups) * rows_each
    with rc_context(STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(2.3 * columns + 0.9, 2.1 * lines + 0.8), layout="constrained")
        axes = figure.subplots(lines, columns, sharex=len(groups) == 1 or "row", sharey=True, squeeze=False)
        norm = gamma_norm(trained)
        panels = iter(axes.flat)
        for key, group in groups:
            for reg in regs:
                ax = next(panels)
                draw(ax, group[(group["reg"] == reg) & (reg != "none")], group[group["reg"] == "none"], norm)
                ax.set_title(literal(reg))
                if len(groups) > 1:
                    ax.set_ylabel("\n".join([*in_words(key), ax.get_ylabel()]))
        for ax in panels:
            ax.set_axis_off()
        label = axes.flat[0].get_xlabel()
        for ax in axes.flat:
            ax.label_outer()
            ax.tick_params(labelbottom=True)
        for column in axes.T:
            lowest = [ax for ax in column if ax.axison][-1]
            lowest.set_xlabel(label, visible=True)  # seaborn hides it where others share the axis.
        sns.despine(figure)
        figure.suptitle(title if len(groups) != 1 else f"{title}: {', '.join(in_words(groups[0][0]))}", fontsize=10)
        figure.colorbar(ScalarMappable(norm=norm, cmap=PALETTE), ax=axes, label="γ", fraction=0.05, pad=0.04 / columns)
        lines_of_legend = 2 if "seeds" in table and len(handles) > 3 else 1
        ncols = -(-len(handles) // lines_of_legend)
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols, frameon=False)
    return figure


def _doubted(table: pd.DataFrame) -> "pd.Series[bool]":
    return table["verdict"].isin(["suspect", "masked"])


def from_clean(table: pd.DataFrame) -> pd.DataFrame:
    """Every curve from ε = 0 on, where each attack leaves what is classified right.

    Args:
        table: curves with the columns of their leaderboard's rows.
    """
    first = table.drop_duplicates(["run", *QUESTION, "attack"])
    missing = first[first["eps"] > 0]
    first_points = missing.assign(eps=0.0, robust=missing["clean"])
    if "certified" in table:
        first_points["certified"] = missing["clean"].where(missing["certified"].notna())
    if "robust_sd" in table:
        first_points["robust_sd"] = missing["clean_sd"]
    return pd.concat([first_points, table], ignore_index=True)


def in_words(key: Any) -> list[str]:
    """Values of `QUESTION` on two lines."""
    dataset, protocol, norm, noise_view, backend, columns = map(literal, key)
    noise = "noise off" if noise_view == "mean" else f"noise {noise_view}"
    unusual = [f"by {backend}"] * (backend != "native") + [f"{columns} columns"] * (columns != "own")
    return [f"{dataset}, {protocol} attacks", ", ".join([_NORM_SYMBOLS.get(norm, norm), noise, *unusual])]
