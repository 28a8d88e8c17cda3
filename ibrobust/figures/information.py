"""Pictures of information: planes, saturation curves, entropies while training, quantities against γ, the I-diagram.

Each function draws one table into one Axes; `panels` makes figures of them.
"""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from ibrobust.figures.style import BASELINE, PALETTE, label_plainly, literal

_SYMBOLS = {
    "encoding_entropy": "H[Z]", "reverse_decoder_uncertainty": "H[Z|Y]", "preserved_information": "I[X;Z]",
    "redundant_information": "I[X;Z|Y]", "decoder_cross_entropy": "Hθ[Y|Z]",
    "preserved_relevant_information": "I[Y;Z]",
}  # fmt: skip
_LEAST = 0.1
_PRESERVED, _RESIDUAL = "preserved information I[X;Z] (nats)", "residual information I[X;Y|Z] (nats)"


def draw_trajectories(ax: Axes, table: pd.DataFrame, norm: LogNorm) -> None:
    """The information plane with a line per run from its first to its last epoch: coloured by log γ, fading in by
    epoch, a square on the best epoch and a circle on the last (Kirsch et al. figures 1, 6, G.3). What keeps less than
    a tenth of a nat is left of the picture.

    Args:
        table: run, gamma, epoch, preserved_information, residual_information; γ = 0 is black.
    """
    colours = sns.color_palette(PALETTE, as_cmap=True)
    for _, line in table.sort_values("epoch").groupby(["gamma", "run"]):
        gamma = float(line["gamma"].iloc[0])
        colour = colours(norm(gamma)) if gamma > 0 else (0.0, 0.0, 0.0, 1.0)
        # Not by the axis's limits: they would stop it from growing with the panels beside it.
        x = line["preserved_information"].where(lambda nats: nats >= _LEAST).to_numpy()
        y = line["residual_information"].to_numpy()
        opacity = np.linspace(0.15, 1, len(line))
        for i in range(len(line) - 1):
            ax.plot(x[i : i + 2], y[i : i + 2], color=colour, alpha=opacity[i + 1], linewidth=1.2)
        best = int(y.argmin())
        ax.plot(x[best], y[best], "s", color=colour, markersize=6, markeredgecolor="white", markeredgewidth=0.5)
        ax.plot(x[-1], y[-1], "o", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.5)
        if "preserved_information_low" in line:
            last = line.iloc[-1:]
            _interval_bars(ax, last.assign(preserved_information=x[-1]), color=colour)
    _log_plane(ax)


def draw_saturation(ax: Axes, table: pd.DataFrame) -> None:
    """The last epoch of every run, a curve per regulariser in the order of γ (figures 4, G.1); the bar is what the
    bounds leave open.

    Args:
        table: reg, gamma, preserved_information with its _low and _high, residual_information.
    """
    colours = sns.color_palette("colorblind")
    for index, (reg, curve) in enumerate(table.sort_values("gamma").groupby("reg")):
        _interval_bars(ax, curve, color=colours[index])
        ax.plot(
            curve["preserved_information"], curve["residual_information"], "o-", color=colours[index], markersize=3.5,
            linewidth=1, label=literal(reg),
        )  # fmt: skip
    _log_plane(ax)


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
        ax.plot(line["epoch"], line[quantity], **BASELINE)
    ax.set(xlabel="epoch", ylabel=f"{_SYMBOLS.get(quantity, quantity)} (nats)")


def draw_against_gamma(ax: Axes, table: pd.DataFrame, *, quantity: str) -> None:
    """A quantity at the end of training against γ, a line per regulariser (figure G.10); the bar is what the bounds
    leave open.

    Args:
        table: reg, gamma > 0, the quantity with its _low and _high.
    """
    colours = sns.color_palette("colorblind")
    for index, (reg, curve) in enumerate(table.sort_values("gamma").groupby("reg")):
        ax.vlines(curve["gamma"], *_interval(curve, quantity), color=colours[index], linewidth=0.6)
        ax.plot(
            curve["gamma"], curve[quantity], "o-", color=colours[index], markersize=3.5, linewidth=1, label=literal(reg)
        )
    ax.set(xscale="log", xlabel="γ", ylabel=f"{_SYMBOLS.get(quantity, quantity)} (nats)", title=_words(quantity))
    if not np.isfinite(table[[quantity, f"{quantity}_low", f"{quantity}_high"]].to_numpy(float)).any():
        ax.text(0.5, 0.5, "no number", transform=ax.transAxes, ha="center", color="gray")
        if len(table):  # a logarithmic axis without a point has no limits of its own
            ax.set_xlim(table["gamma"].min() / 2, table["gamma"].max() * 2)


def draw_diagram(ax: Axes, quantities: dict[str, float]) -> None:
    """The paper's I-diagram (figure 2) with measured nats in its regions.

    X is the large circle, Y lies in it where nothing but X decides the label, Z crosses both. A region that is not
    given is left blank.

    Args:
        quantities: nats by name: label_entropy_given_input, residual_information, preserved_relevant_information,
            redundant_information, encoding_entropy_given_input, and for the captions label_entropy, encoding_entropy.
    """
    from matplotlib.patches import Circle

    # Y and Z meet inside X alone: given X they are independent.
    circles = [((0.0, -0.2), 1.65), ((-0.88, 0.6), 1.2), ((0.88, 0.6), 1.2)]
    for (centre, radius), colour in zip(circles, sns.color_palette("colorblind"), strict=False):
        ax.add_patch(Circle(centre, radius, facecolor=(*colour, 0.18), edgecolor=colour, linewidth=1.5))
    regions = {
        "H[Y|X]": ("label_entropy_given_input", (-1.72, 0.95)),
        "I[X;Y|Z]": ("residual_information", (-0.95, 0.25)),
        "I[Y;Z]": ("preserved_relevant_information", (0.0, 0.6)),
        "I[X;Z|Y]": ("redundant_information", (0.95, 0.25)),
        "H[Z|X]": ("encoding_entropy_given_input", (1.72, 0.95)),
    }
    for symbol, (name, (x, y)) in regions.items():
        ax.text(x, y, f"{symbol}\n{_nats(quantities, name)}", ha="center", va="center", fontsize=7)
    ax.text(0, -1.2, "X", ha="center", va="center", fontsize=11)
    ax.text(-1.0, 1.95, f"H[Y] = {_nats(quantities, 'label_entropy')}", ha="center", fontsize=8)
    ax.text(1.0, 1.95, f"H[Z] = {_nats(quantities, 'encoding_entropy')}", ha="center", fontsize=8)
    ax.set(xlim=(-2.2, 2.2), ylim=(-1.95, 2.3), aspect="equal")
    ax.axis("off")


def _log_plane(ax: Axes) -> None:
    """Both axes logarithmic."""
    ax.set(xscale="log", yscale="log", xlabel=_PRESERVED, ylabel=_RESIDUAL)
    label_plainly(ax.xaxis, ax.yaxis)


def _interval_bars(ax: Axes, table: pd.DataFrame, *, color: Any) -> None:
    """What the bounds on I[X;Z] leave open, also where they lie too far apart for a number."""
    low, high = _interval(table, "preserved_information")
    ax.hlines(table["residual_information"], low.clip(lower=_LEAST), high, color=color, linewidth=0.8, alpha=0.7)


def _interval(table: pd.DataFrame, quantity: str) -> tuple[pd.Series, pd.Series]:
    """Both bounds; the estimate in place of one that is infinite, so that nothing is drawn towards it."""
    low, high = (table[f"{quantity}_{end}"].replace([np.inf, -np.inf], np.nan) for end in ("low", "high"))
    return low.fillna(table[quantity]), high.fillna(table[quantity])


def _nats(quantities: dict[str, float], name: str) -> str:
    value = quantities.get(name, np.nan)
    return "" if np.isnan(value) else f"{value:.2f}"


def _words(quantity: str) -> str:
    return quantity.replace("_", " ")
