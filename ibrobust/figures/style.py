"""What all figures have in common: sizes, colours, axes, a legend that hides nothing, and how they are saved."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ibrobust.errors import one_line
from ibrobust.files import written_whole

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "ibrobust",
    "svg.fonttype": "none",
}
PALETTE = "viridis"
BASELINE: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1}
ADVERSARIAL: dict[str, Any] = {"color": "tab:red", "linestyle": "-.", "linewidth": 1}
PANELS_TO_A_ROW = 4
TOP = 1.03
"""The end of an axis of shares, with room for a marker at 1."""


def gamma_norm(table: pd.DataFrame) -> LogNorm:
    """The colours of γ, from the smallest to the largest above 0."""
    gammas = pd.to_numeric(table["gamma"])
    positive = gammas[gammas > 0]
    return LogNorm(positive.min(), positive.max()) if positive.nunique() > 1 else LogNorm(1e-4, 1)


def literal(text: object) -> str:
    """The text as Matplotlib shows it character by character, on one line: a pair of `$` would make it a formula."""
    return one_line(str(text)).replace("$", r"\$")


def label_plainly(*axes: Axis) -> None:
    """Plain numbers at 1, 2, 5, 10, … of logarithmic axes."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(partial(_plain_number, axis)))
        axis.set_minor_formatter(NullFormatter())


def legend_below(figure: Figure, ax: Axes) -> None:
    """One panel's legend below all panels, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    with rc_context(STYLE):
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False)
    for panel in figure.axes:
        if found := panel.get_legend():
            found.remove()


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """PNG and SVG, the same bytes for the same figure."""
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        with written_whole(path) as unfinished, rc_context(STYLE):
            figure.savefig(unfinished, format=path.suffix[1:], dpi=200, bbox_inches="tight", metadata=metadata)
    return paths


def _plain_number(axis: Axis, value: float, _position: int) -> str:
    """Over more than two decades only powers of ten have room."""
    low, high = axis.get_view_interval()
    return f"{value:g}" if high < 100 * low or f"{value:e}".startswith("1.0") else ""
