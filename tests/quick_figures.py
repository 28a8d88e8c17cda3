"""Figures that no test looks at: drawn into their files as always, but small and without a layout.

A layout and its picture are most of what `evaluate` or `report` take on a few samples. Every artist is drawn all the
same, so that a table that cannot be drawn still ends the command. Tests of the figures themselves ask for
`whole_figures`.
"""

import os
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WHOLE = "IBROBUST_TESTS_WHOLE_FIGURES"
"""Where the environment has it, figures are saved as users have them."""

_SAVED_WHOLE = Figure.savefig


def _savefig(figure: Figure, file: Any, **settings: Any) -> None:
    if WHOLE in os.environ or settings.get("format") not in ("png", "svg"):
        _SAVED_WHOLE(figure, file, **settings)
        return
    layout, dpi = figure.get_layout_engine(), figure.dpi
    figure.set_layout_engine("none")
    figure.dpi = 20
    canvas = FigureCanvasAgg(figure) if settings["format"] == "png" else FigureCanvasSVG(figure)
    getattr(canvas, f"print_{settings['format']}")(file, metadata=settings.get("metadata"))
    figure.dpi = dpi
    figure.set_layout_engine(layout)


def draw_once() -> None:
    """Read fonts and grammar, which the first figure of a process takes longer for than to be drawn."""
    figure = Figure()
    figure.subplots().set(xscale="log", title="γ")
    for form in ("png", "svg"):
        figure.savefig(BytesIO(), format=form)


def install() -> None:
    """Save figures quickly in this process from now on."""
    Figure.savefig = _savefig
