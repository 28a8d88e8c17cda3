"""Pictures of information: planes, saturation curves, entropies while training, quantities against γ, the I-diagram.

Each function draws one table into one Axes; the figures below them are panels of those.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ibrobust.figures import BASELINE, PALETTE
from ibrobust.information_table import wide

_STYLE: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 9, "svg.hashsalt": "ibrobust", "svg.fonttype": "none"}
_BASELINE: dict[str, Any] = BASELINE
_PRESERVED, _RESIDUAL = "preserved information I[X;Z] (nats)", "residual information I[X;Y|Z] (nats)"
_QUANTITIES = [
    "encoding_entropy", "reverse_decoder_uncertainty", "preserved_information", "redundant_information",
    "decoder_cross_entropy", "preserved_relevant_information",
]  # fmt: skip


def draw_trajectories(ax: Axes, table: pd.DataFrame, norm: LogNorm) -> None:
    """The information plane with a line per run from its first to its last epoch: coloured by log γ, fading in by
    epoch, a square on the best epoch and a circle on the last (Kirsch et al. figures 1, 6, G.3).

    Args:
        table: run, gamma, epoch, preserved_information, residual_information; γ = 0 is black.
    """
    colours = sns.color_palette(PALETTE, as_cmap=True)
    for _, line in table.sort_values("epoch").groupby(["gamma", "run"]):
        gamma = float(line["gamma"].iloc[0])
        colour = colours(norm(gamma)) if gamma > 0 else (0.0, 0.0, 0.0, 1.0)
        x, y = line["preserved_information"].to_numpy(), line["residual_information"].to_numpy()
        opacity = np.linspace(0.15, 1, len(line))
        for i in range(len(line) - 1):
            ax.plot(x[i : i + 2], y[i : i + 2], color=colour, alpha=opacity[i + 1], linewidth=1.2)
        best = int(y.argmin())
        ax.plot(x[best], y[best], "s", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=0.5)
        ax.plot(x[-1], y[-1], "o", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5)
    ax.set(xscale="log", yscale="log", xlabel=_PRESERVED, ylabel=_RESIDUAL)


def draw_saturation(ax: Axes, table: pd.DataFrame) -> None:
    """The last epoch of every run, a curve per regulariser in the order of γ (figures 4, G.1); the bar is what the
    bounds leave open.

    Args:
        table: reg, gamma, preserved_information with its _low and _high, residual_information.
    """
    colours = sns.color_palette("colorblind")
    for index, (reg, curve) in enumerate(table.sort_values("gamma").groupby("reg")):
        _interval_bars(ax, curve, "preserved_information", "residual_information", color=colours[index])
        ax.plot(
            curve["preserved_information"], curve["residual_information"], "o-", color=colours[index], markersize=3.5,
            linewidth=1, label=reg,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel=_PRESERVED, ylabel=_RESIDUAL)
    ax.legend(frameon=False, fontsize=7)


def draw_entropies(ax: Axes, table: pd.DataFrame, norm: LogNorm, *, quantity: str = "encoding_entropy") -> None:
    """One quantity while training, a line per run coloured by log γ (figure G.2).

    Args:
        table: run, gamma, epoch and the quantity; γ = 0 is black and dashed.
    """
    trained = table[table["gamma"] > 0]
    if len(trained):
        sns.lineplot(
            trained, x="epoch", y=quantity, hue="gamma", hue_norm=norm, palette=PALETTE, units="run", estimator=None,
            linewidth=1.2, legend=False, ax=ax,
        )  # fmt: skip
    for _, line in table[table["gamma"] == 0].groupby("run"):
        ax.plot(line["epoch"], line[quantity], **_BASELINE)
    ax.set(xlabel="epoch", ylabel=f"{_words(quantity)} (nats)")


def draw_against_gamma(ax: Axes, table: pd.DataFrame, *, quantity: str) -> None:
    """A quantity at the end of training against γ, a line per regulariser (figure G.10); the bar is what the bounds
    leave open.

    Args:
        table: reg, gamma > 0, the quantity with its _low and _high.
    """
    colours = sns.color_palette("colorblind")
    for index, (reg, curve) in enumerate(table.sort_values("gamma").groupby("reg")):
        low, high = _reach(curve, quantity)
        ax.errorbar(
            curve["gamma"], curve[quantity], yerr=[low, high], fmt="o-", color=colours[index], markersize=3.5,
            linewidth=1, elinewidth=0.6, label=reg,
        )  # fmt: skip
    ax.set(xscale="log", xlabel="γ", ylabel=f"{_words(quantity)} (nats)")


def draw_robustness_by_information(ax: Axes, table: pd.DataFrame, norm: LogNorm) -> None:
    """Mean robustness (○) and clean accuracy (×) against preserved information, coloured by log γ, with what the
    bounds leave open as a horizontal bar (figure G.14).

    Args:
        table: gamma, preserved_information with its _low and _high, robust_avg, clean.
    """
    for values, marker in (("robust_avg", "o"), ("clean", "X")):
        _interval_bars(ax, table, "preserved_information", values, color="0.7")
        sns.scatterplot(
            table, x="preserved_information", y=values, hue="gamma", hue_norm=norm, palette=PALETTE, marker=marker,
            s=45, legend=False, ax=ax, zorder=3,
        )  # fmt: skip
    ax.set(xlabel=_PRESERVED, ylabel="accuracy", ylim=(0, 1))


def draw_diagram(ax: Axes, quantities: dict[str, float]) -> None:
    """The paper's I-diagram (figure 2) with measured nats in its regions.

    X is the large circle, Y lies in it where nothing but X decides the label, Z crosses both. A region that is not
    given is left blank.

    Args:
        quantities: nats by name: label_entropy_given_input, residual_information, preserved_relevant_information,
            redundant_information, encoding_entropy_given_input, and for the captions label_entropy, encoding_entropy.
    """
    from matplotlib.patches import Circle

    circles = [((0.0, -0.25), 1.25), ((-0.85, 0.75), 0.85), ((0.85, 0.75), 0.85)]
    for (centre, radius), colour in zip(circles, sns.color_palette("colorblind"), strict=False):
        ax.add_patch(Circle(centre, radius, facecolor=(*colour, 0.18), edgecolor=colour, linewidth=1.5))
    regions = {
        "H[Y|X]": ("label_entropy_given_input", (-1.3, 1.05)),
        "I[X;Y|Z]": ("residual_information", (-0.62, 0.3)),
        "I[Y;Z]": ("preserved_relevant_information", (0.0, 0.72)),
        "I[X;Z|Y]": ("redundant_information", (0.62, 0.3)),
        "H[Z|X]": ("encoding_entropy_given_input", (1.3, 1.05)),
    }
    for symbol, (name, (x, y)) in regions.items():
        ax.text(x, y, f"{symbol}\n{_nats(quantities, name)}", ha="center", va="center", fontsize=7)
    ax.text(0, -1.0, "X", ha="center", va="center", fontsize=11)
    ax.text(-0.95, 1.72, f"H[Y] = {_nats(quantities, 'label_entropy')}", ha="center", fontsize=8)
    ax.text(0.95, 1.72, f"H[Z] = {_nats(quantities, 'encoding_entropy')}", ha="center", fontsize=8)
    ax.set(xlim=(-1.8, 1.8), ylim=(-1.6, 1.9), aspect="equal")
    ax.axis("off")


def plane_figure(table: pd.DataFrame) -> Figure:
    """Information planes with trajectories: a column per regulariser, a row per split.

    Args:
        table: an information table with epoch, reg and gamma.
    """
    keys = ["run", "epoch", "split", "reg", "gamma"]
    points = wide(table, ["preserved_information"], estimator="knn", keys=keys).merge(
        wide(table, ["residual_information"], estimator="decoder", keys=keys)
    )
    handles = [
        Line2D([], [], marker="s", color="gray", linestyle="", label="best epoch"),
        Line2D([], [], marker="o", color="gray", linestyle="", label="last epoch"),
    ]
    return _panels(points, "Information plane while training", draw_trajectories, handles)


def entropies_figure(table: pd.DataFrame) -> Figure:
    """H[Z] while training: a column per regulariser, a row per split; the table as for `plane_figure`."""
    points = wide(table, ["encoding_entropy"], estimator="knn", keys=["run", "epoch", "split", "reg", "gamma"])
    handles = [Line2D([], [], label="γ = 0", **_BASELINE)]
    return _panels(points, "Encoding entropy while training", draw_entropies, handles)


def saturation_figure(table: pd.DataFrame) -> Figure:
    """Saturation curves of all regularisers, a panel per split.

    Args:
        table: an information table with reg and gamma.
    """
    points = _last(table, ["preserved_information"]).merge(
        wide(_seen(table), ["residual_information"], estimator="decoder", keys=_RUN_KEYS)
    )
    with rc_context(_STYLE), sns.axes_style("ticks"):
        splits = list(dict.fromkeys(points["split"]))
        figure = Figure(figsize=(3.4 * len(splits), 3.0), layout="constrained")
        axes = figure.subplots(1, len(splits), squeeze=False)[0]
        for ax, split in zip(axes, splits, strict=True):
            draw_saturation(ax, points[points["split"] == split])
            ax.set_title(split)
        sns.despine(figure)
    return figure


def gamma_figure(table: pd.DataFrame, *, split: str = "test") -> Figure:
    """Quantities against γ, a panel each; the table as for `saturation_figure`."""
    points = _last(table[table["split"] == split], _QUANTITIES).query("gamma > 0")
    with rc_context(_STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(8.4, 4.8), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True).ravel()
        for ax, quantity in zip(axes, _QUANTITIES, strict=True):
            draw_against_gamma(ax, points, quantity=quantity)
        axes[0].legend(frameon=False, fontsize=7)
        sns.despine(figure)
        figure.suptitle(f"Information at the end of training · {split}", fontsize=10)
    return figure


def diagram_figure(table: pd.DataFrame) -> Figure:
    """The I-diagrams of one run, a panel per split.

    Args:
        table: an information table of one run.
    """
    seen = _seen(table)
    with rc_context(_STYLE):
        splits = list(dict.fromkeys(seen["split"]))
        figure = Figure(figsize=(3.4 * len(splits), 3.3), layout="constrained")
        for ax, split in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
            draw_diagram(ax, _regions(seen[seen["split"] == split]))
            ax.set_title(split)
        figure.suptitle(f"{seen['run'].iloc[0]} (nats)", fontsize=9)
    return figure


_RUN_KEYS = ["run", "split", "reg", "gamma"]


def _seen(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the view that has a noisy latent; of the mean path for runs without noise."""
    fresh = table[table["view"] == "fresh"]
    return pd.concat([fresh, table[(table["view"] == "mean") & ~table["run"].isin(fresh["run"])]])


def _last(table: pd.DataFrame, quantities: list[str]) -> pd.DataFrame:
    return wide(_seen(table), quantities, estimator="knn", keys=_RUN_KEYS)


def _regions(rows: pd.DataFrame) -> dict[str, float]:
    """Best estimates that fit together: I[X;Z|Y] is what H[Z] leaves beside I[Y;Z] and H[Z|X] (eq. 23)."""
    names = ["label_entropy", "encoding_entropy", "encoding_entropy_given_input", "preserved_relevant_information"]
    present = [name for name in names if name in set(rows["quantity"])]
    row = wide(rows, present, estimator="knn", keys=["run"]).iloc[0]
    values = {name: float(row[name]) for name in present}
    values["label_entropy_given_input"] = 0.0
    values["residual_information"] = values["label_entropy"] - values["preserved_relevant_information"]
    if {"encoding_entropy", "encoding_entropy_given_input"} <= set(values):
        given = values["encoding_entropy_given_input"] + values["preserved_relevant_information"]
        values["redundant_information"] = values["encoding_entropy"] - given
    return values


def _panels(
    table: pd.DataFrame, title: str, draw: Callable[[Axes, pd.DataFrame, LogNorm], None], handles: list[Line2D]
) -> Figure:
    rows, columns = list(dict.fromkeys(table["split"])), sorted(set(table["reg"]))
    positive = table.loc[table["gamma"] > 0, "gamma"]
    norm = LogNorm(positive.min(), positive.max()) if positive.nunique() > 1 else LogNorm(1e-4, 1)
    with rc_context(_STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(3.0 * len(columns) + 0.9, 2.6 * len(rows) + 0.7), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
        for line, split in zip(axes, rows, strict=True):
            for ax, reg in zip(line, columns, strict=True):
                draw(ax, table[(table["split"] == split) & (table["reg"] == reg)], norm)
                ax.set_title(f"{reg} · {split}")
        sns.despine(figure)
        figure.suptitle(title, fontsize=10)
        figure.colorbar(ScalarMappable(norm=norm, cmap=PALETTE), ax=axes, label="γ", fraction=0.05, pad=0.01)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _interval_bars(ax: Axes, table: pd.DataFrame, x: str, y: str, *, color: Any) -> None:
    low, high = _reach(table, x)
    ax.errorbar(table[x], table[y], xerr=[low, high], fmt="none", ecolor=color, elinewidth=0.8, alpha=0.7)


def _reach(table: pd.DataFrame, quantity: str) -> tuple[pd.Series, pd.Series]:
    """Distances to the bounds; nothing is drawn where a bound is infinite."""
    low, high = (table[quantity] - table[f"{quantity}_low"]), (table[f"{quantity}_high"] - table[quantity])
    return low.replace(np.inf, 0).fillna(0).clip(lower=0), high.replace(np.inf, 0).fillna(0).clip(lower=0)


def _nats(quantities: dict[str, float], name: str) -> str:
    value = quantities.get(name, np.nan)
    return "" if np.isnan(value) else f"{value:.2f}"


def _words(quantity: str) -> str:
    return quantity.replace("_", " ")
