"""Pictures of training itself: the shrinking latent, the two cross-entropies, DVIB beside l2.

Each function makes a figure of one table, which `ibrobust.commands.histories` joins from runs.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ibrobust.figures.style import STYLE, label_plainly, legend_below

_SYMBOLS = {
    "error": "training error",
    "decoder_uncertainty": "H[Y|Z] (nats)",
    "decoder_cross_entropy": "Hθ[Y|Z] (nats)",
    "prediction_cross_entropy": "Hθ[Y|X] (nats)",
}


def pathology_figure(table: pd.DataFrame) -> Figure:
    """The latent's entropy and the error after each rescaling, by noise (Kirsch et al. figure 3). The band lies between
    the entropy's bounds; an entropy of −∞ is said in words. Dotted is the raw estimate, which is not an entropy.

    Args:
        table: noise, epoch, encoding_entropy with its _low, _high and _raw, rescaled_error.
    """
    figure, axes = _row(2)
    noises = sorted(set(table["noise"]))
    palette = dict(zip(noises, sns.color_palette("colorblind"), strict=False))
    for ax, column, label in zip(
        axes, ("encoding_entropy", "rescaled_error"), ("encoding entropy H[Z] (nats)", "training error"), strict=True
    ):
        sns.lineplot(
            table, x="epoch", y=column, hue="noise", hue_order=noises, palette=palette, marker="o", markersize=4,
            legend=ax is axes[1], ax=ax,
        )  # fmt: skip
        ax.set_ylabel(label)
    for noise, rows in table.sort_values("epoch").groupby("noise"):
        _draw_bounds(axes[0], rows, palette[noise])
    axes[0].axhline(0, color="gray", linewidth=0.8)
    # Tens of nats with noise, minus thousands without: linear up to ten, logarithmic beyond.
    axes[0].set_yscale("symlog", linthresh=10)
    axes[0].set_yticks([-1000, -100, -10, 0, 10, 100], ["−1000", "−100", "−10", "0", "10", "100"])
    axes[1].set_ylim(0, 1)
    legend_below(figure, axes[1])
    return figure


def _draw_bounds(ax: Axes, rows: pd.DataFrame, color: tuple[float, float, float]) -> None:
    low, high = rows["encoding_entropy_low"], rows["encoding_entropy_high"]
    ax.plot(rows["epoch"], rows["encoding_entropy_raw"], ":", color=color, linewidth=1)
    if np.isfinite(low).all():
        ax.fill_between(rows["epoch"], low, high, color=color, alpha=0.25, linewidth=0)
    if np.isneginf(rows["encoding_entropy"]).all():
        word = "H[Z] = −∞ at every epoch\n(dotted: raw estimate)"
        ax.text(0.97, 0.22, word, fontsize=7, color=color, ha="right", transform=ax.transAxes)


def cross_entropy_figure(table: pd.DataFrame) -> Figure:
    """What training with each likelihood term makes of the error and of all the terms: median and quartiles over
    seeds (Kirsch et al. figures G.11, E.1).

    Args:
        table: likelihood, seed, epoch, error and the columns of `Trained.history`'s quantities.
    """
    columns = [column for column in _SYMBOLS if column in table and table[column].notna().all()]
    terms = sorted(set(table["likelihood"]))
    figure, axes = _row(len(columns))
    for ax, column in zip(axes, columns, strict=True):
        sns.lineplot(
            table, x="epoch", y=column, hue="likelihood", style="likelihood", hue_order=terms, style_order=terms,
            estimator="median", errorbar=("pi", 50), legend=ax is axes[-1], ax=ax,
        )  # fmt: skip
        ax.set(ylabel=_SYMBOLS[column], yscale="log")
        label_plainly(ax.yaxis)
    legend_below(figure, axes[-1])
    return figure


def multiplier_figure(table: pd.DataFrame) -> Figure:
    """Test error and decoder cross-entropy against γ, a line per regulariser (Kirsch et al. figure G.15).

    Args:
        table: reg, gamma, test_error, test_decoder_cross_entropy; one row per run.
    """
    figure, axes = _row(2)
    columns = {"test_error": "test error", "test_decoder_cross_entropy": "Hθ[Y|Z] on test images (nats)"}
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        sns.lineplot(table, x="gamma", y=column, hue="reg", marker="o", legend=ax is axes[0], ax=ax)
        ax.set(xscale="log", yscale="log", xlabel="γ", ylabel=label)
        label_plainly(ax.yaxis)
    legend_below(figure, axes[0])
    return figure


def multiplier_shift(table: pd.DataFrame, column: str, one: str, other: str) -> float:
    """The factor f for which the curve of `one` at f·γ lies closest to the curve of `other` at γ.

    Both are interpolated in ln γ and ln value; the mean squared distance is over the γ where both are known, at least
    half of the grid. Kirsch et al. §F.3 expect 2 for DVIB beside l2.

    Args:
        table: reg, gamma and the column; several rows of one γ are averaged.
    """
    curves = [np.log(table[table["reg"] == reg].groupby("gamma")[column].mean()) for reg in (one, other)]
    (x_one, y_one), (x_other, y_other) = ((np.log(curve.index.to_numpy()), curve.to_numpy()) for curve in curves)
    grid = np.linspace(x_other.min(), x_other.max(), 400)

    def distance(shift: float) -> float:
        moved = grid + shift
        known = (moved >= x_one.min()) & (moved <= x_one.max())
        if known.mean() < 0.5:
            return math.inf
        gap = np.interp(moved[known], x_one, y_one) - np.interp(grid[known], x_other, y_other)
        return float(np.mean(gap**2))

    half = (x_other.max() - x_other.min()) / 2
    coarse = min(np.linspace(-half, half, 101), key=distance)
    return math.exp(min(np.linspace(coarse - half / 50, coarse + half / 50, 41), key=distance))


def _row(count: int) -> tuple[Figure, Sequence[Axes]]:
    with rc_context(STYLE), sns.axes_style("ticks"):
        figure = Figure(figsize=(3.2 * count, 3.0), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False)[0]
    sns.despine(figure)
    return figure, list(axes)
