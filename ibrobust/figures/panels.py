"""Figures of information tables: panels of the pictures that `information` draws."""

from collections.abc import Callable

import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ibrobust.entropies.table import wide
from ibrobust.errors import BadInput
from ibrobust.figures.information import (
    draw_against_gamma,
    draw_diagram,
    draw_entropies,
    draw_saturation,
    draw_trajectories,
)
from ibrobust.figures.style import BASELINE, PALETTE, STYLE, gamma_norm, legend_below, literal

_QUANTITIES = [
    "encoding_entropy", "reverse_decoder_uncertainty", "preserved_information", "redundant_information",
    "decoder_cross_entropy", "preserved_relevant_information",
]  # fmt: skip
_RUN_KEYS = ["run", "split", "reg", "gamma"]


def plane_figure(table: pd.DataFrame) -> Figure:
    """Information planes with trajectories: a column per regulariser, a row per split. The line goes through estimates
    also where no number would be told; the bar at the last epoch is what the bounds leave open.

    Args:
        table: an information table with epoch, reg and gamma.
    """
    keys = ["run", "epoch", "split", "reg", "gamma"]
    points = wide(table, ["preserved_information"], estimator="knn", keys=keys, guessed=True).merge(
        wide(table, ["residual_information"], estimator="decoder", keys=keys)
    )
    handles = [
        Line2D([], [], marker="s", color="gray", linestyle="", label="best epoch"),
        Line2D([], [], marker="o", color="gray", linestyle="", label="last epoch"),
    ]
    return _panels(points, "Information plane while training", draw_trajectories, handles)


def entropies_figure(table: pd.DataFrame) -> Figure:
    """H[Z] while training: a column per regulariser, a row per split; the table as for `plane_figure`."""
    keys = ["run", "epoch", "split", "reg", "gamma"]
    points = wide(table, ["encoding_entropy"], estimator="knn", keys=keys, guessed=True)
    handles = [Line2D([], [], label="γ = 0", **BASELINE)]
    return _panels(points, "Encoding entropy while training", draw_entropies, handles)


def saturation_figure(table: pd.DataFrame) -> Figure:
    """Saturation curves of all regularisers, a panel per split.

    Args:
        table: an information table with reg and gamma.
    """
    points = _last(table, ["preserved_information"]).merge(
        wide(_seen(table), ["residual_information"], estimator="decoder", keys=_RUN_KEYS)
    )
    with rc_context(STYLE), sns.axes_style("ticks"):
        splits = list(dict.fromkeys(points["split"]))
        figure = Figure(figsize=(3.4 * len(splits), 3.3), layout="constrained")
        axes = figure.subplots(1, len(splits), squeeze=False)[0]
        for ax, split in zip(axes, splits, strict=True):
            draw_saturation(ax, points[points["split"] == split])
            ax.set_title(literal(split))
        sns.despine(figure)
    legend_below(figure, axes[0])
    return figure


def gamma_figure(table: pd.DataFrame, *, split: str = "test") -> Figure:
    """Quantities against γ, a panel each; the table as for `saturation_figure`."""
    points = _last(table[table["split"] == split], _QUANTITIES).query("gamma > 0")
    with rc_context(STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(8.4, 5.2), layout="constrained")
        axes = figure.subplots(2, 3, sharex=True).ravel()
        for ax, quantity in zip(axes, _QUANTITIES, strict=True):
            draw_against_gamma(ax, points, quantity=quantity)
            ax.tick_params(labelbottom=True)
        legend_below(figure, axes[0])
        sns.despine(figure)
        figure.suptitle(f"Information at the end of training · {split}", fontsize=10)
    return figure


def diagram_figure(table: pd.DataFrame) -> Figure:
    """The I-diagrams of one run, a panel per split; estimates also where no number would be told, or the regions would
    not add up.

    Args:
        table: an information table of one run.
    """
    seen = _seen(table)
    with rc_context(STYLE):
        splits = list(dict.fromkeys(seen["split"]))
        figure = Figure(figsize=(3.4 * len(splits), 3.3), layout="constrained")
        for ax, split in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
            draw_diagram(ax, _regions(seen[seen["split"] == split]))
            ax.set_title(literal(split))
        figure.suptitle(f"{literal(seen['run'].iloc[0])} (nats)", fontsize=9)
    return figure


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
    row = wide(rows, present, estimator="knn", keys=["run"], guessed=True).iloc[0]
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
    if table.empty:
        raise BadInput(f"{title}: no run holds what this figure shows")
    rows, columns = list(dict.fromkeys(table["split"])), sorted(set(table["reg"]))
    norm = gamma_norm(table)
    with rc_context(STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(3.0 * len(columns) + 0.9, 2.6 * len(rows) + 0.7), layout="constrained")
        axes = figure.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
        for line, split in zip(axes, rows, strict=True):
            for ax, reg in zip(line, columns, strict=True):
                draw(ax, table[(table["split"] == split) & (table["reg"] == reg)], norm)
                ax.set_title(f"{literal(reg)} · {literal(split)}")
        for ax in axes.ravel():
            ax.label_outer()
            ax.tick_params(labelbottom=True)
        sns.despine(figure)
        figure.suptitle(title, fontsize=10)
        figure.colorbar(ScalarMappable(norm=norm, cmap=PALETTE), ax=axes, label="γ", fraction=0.05, pad=0.01)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure
