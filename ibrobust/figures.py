"""The two pictures: robustness against ε, and mean robustness against preserved information."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ibrobust.files import written_whole

PALETTE = "viridis"
BASELINE = {"color": "black", "linestyle": "--", "linewidth": 1.5}
_STYLE = {"font.size": 9, "axes.titlesize": 9, "svg.hashsalt": "ibrobust", "svg.fonttype": "none"}


def draw_robustness(ax: Axes, curves: pd.DataFrame, baseline: pd.DataFrame, norm: LogNorm) -> None:
    """All-attack robustness against ε, a line per run coloured by γ; the unregularised baseline black and dashed
    (Kirsch et al. figures 5, G.13).

    Args:
        curves, baseline: run, gamma, eps, robust.
    """
    if len(curves):
        sns.lineplot(
            curves, x="eps", y="robust", hue="gamma", hue_norm=norm, palette=PALETTE, units="run", estimator=None,
            linewidth=1.5, legend=False, ax=ax,
        )  # fmt: skip
    for _, line in baseline.groupby("run"):
        ax.plot(line["eps"], line["robust"], **BASELINE)
    ax.set(xlabel="ε", ylabel="all-attack robust accuracy", ylim=(0, 1), xlim=(0, None))


def draw_information(ax: Axes, board: pd.DataFrame, baseline: pd.DataFrame, norm: LogNorm) -> None:
    """Mean robustness (○) and clean accuracy (×) against preserved information, coloured by γ (figure G.14).

    Args:
        board, baseline: gamma, preserved_information, robust_avg, clean.
    """
    for values, marker in (("robust_avg", "o"), ("clean", "X")):
        sns.scatterplot(
            board, x="preserved_information", y=values, hue="gamma", hue_norm=norm, palette=PALETTE, marker=marker,
            s=45, legend=False, ax=ax,
        )  # fmt: skip
    for robust_avg in baseline["robust_avg"]:
        ax.axhline(robust_avg, **BASELINE)
    ax.set(xlabel="preserved information I[X;Z] (nats)", ylabel="accuracy", ylim=(0, 1))


def robustness_figure(board: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """A panel per regulariser and a row per data set, protocol and norm.

    Args:
        board: a leaderboard.
        curves: the curves of the same results.
    """
    keys = ["run", "protocol", "norm", "view"]
    table = curves.query("attack == 'all'").merge(board[[*keys, "dataset", "reg", "gamma"]], on=keys)
    title = "Robustness against all attacks"
    return _panels(table, title, draw_robustness, [Line2D([], [], label="no regulariser", **BASELINE)])


def information_figure(board: pd.DataFrame) -> Figure:
    """A panel per regulariser and a row per data set, protocol and norm."""
    handles = [
        Line2D([], [], marker="o", color="gray", linestyle="", label="robust, mean over ε"),
        Line2D([], [], marker="X", color="gray", linestyle="", label="clean"),
        Line2D([], [], label="robust, no regulariser", **BASELINE),
    ]
    title = "Robustness and preserved information"
    return _panels(board, title, draw_information, handles)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """PNG and SVG, the same bytes for the same figure."""
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for path in paths:
        with written_whole(path) as unfinished:
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(unfinished, format=path.suffix[1:], dpi=200, bbox_inches="tight", metadata=metadata)
    return paths


def _panels(
    table: pd.DataFrame,
    title: str,
    draw: Callable[[Axes, pd.DataFrame, pd.DataFrame, LogNorm], None],
    handles: list[Line2D],
) -> Figure:
    trained = table[table["reg"] != ""]
    rows = list(trained.groupby(["dataset", "protocol", "norm", "view"]))
    columns = sorted(set(trained["reg"]) - {"none"}) or ["none"]
    positive = trained.loc[pd.to_numeric(trained["gamma"]) > 0, "gamma"].astype(float)
    norm = LogNorm(positive.min(), positive.max()) if positive.nunique() > 1 else LogNorm(1e-4, 1)
    with rc_context(_STYLE), sns.axes_style("ticks"):
        size = (2.4 * len(columns) + 0.9, 2.5 * len(rows) + 0.7)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), len(columns), sharex="row", sharey=True, squeeze=False)
        for line, (key, group) in zip(axes, rows, strict=True):
            baseline = group[group["reg"] == "none"]
            for ax, reg in zip(line, columns, strict=True):
                draw(ax, group[(group["reg"] == reg) & (reg != "none")], baseline, norm)
                ax.set_title(f"{reg}\n{' · '.join(key)}" if len(rows) > 1 else reg)
        sns.despine(figure)
        figure.suptitle(title if len(rows) != 1 else f"{title} · {' · '.join(rows[0][0])}", fontsize=10)
        scale = ScalarMappable(norm=norm, cmap=PALETTE)
        figure.colorbar(scale, ax=axes, label="γ", fraction=0.05, pad=0.01)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure
