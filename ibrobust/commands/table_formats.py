"""A table for a paper or a page: LaTeX and Markdown, in which names are text and digits stay as they are."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.errors import one_line
from ibrobust.files import written_whole

if TYPE_CHECKING:
    import pandas as pd

_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$&#]")
"""What Markdown, with tables, formulas and HTML, would take for more than text inside a cell."""

_LATEX = str.maketrans(
    {
        "ε": r"$\varepsilon$", "γ": r"$\gamma$", "σ": r"$\sigma$", "π": r"$\pi$", "±": r"$\pm$", "×": r"$\times$",
        "≤": r"$\le$", "≥": r"$\ge$", "−": "$-$", "∞": r"$\infty$", "<": "$<$", ">": "$>$", "|": "$|$",
        "[": "{[}", "]": "{]}",
    }
)  # fmt: skip
"""What pandas leaves as it is: symbols that some LaTeX engines and fonts do not have, and brackets, which would
begin an option behind the end of a row."""


def as_markdown(table: "pd.DataFrame") -> str:
    """The table between pipes, as GitHub, MkDocs and Pandoc read it."""
    # Numbers come as text with fixed digits and stay as they are.
    text = _mapped(table, lambda cell: _MARKDOWN.sub(lambda found: "\\" + found[0], cell))
    return str(text.to_markdown(index=False, disable_numparse=True)) + "\n"


def as_latex(table: "pd.DataFrame") -> str:
    """The table as a `tabular` with the rules of the package booktabs."""
    tabular = _mapped(table, str).to_latex(index=False, escape=True)
    return "% \\usepackage{booktabs}\n" + tabular.translate(_LATEX)


FORMATS: dict[str, tuple[Callable[["pd.DataFrame"], str], str]] = {
    "latex": (as_latex, ".tex"),
    "markdown": (as_markdown, ".md"),
}


def save_as(kind: str, table: "pd.DataFrame", path: Path) -> Path:
    """Write the table as LaTeX or Markdown beside the CSV of that path; returns where."""
    write, suffix = FORMATS[kind]
    target = path.with_suffix(suffix)
    with written_whole(target) as unfinished:
        unfinished.write_text(write(table), encoding="utf-8", newline="\n")
    return target


def _mapped(table: "pd.DataFrame", escaped: Callable[[str], str]) -> "pd.DataFrame":
    """Every cell and every name of a column as escaped text on one line; nothing where there is no value."""
    cells = table.astype(object).where(table.notna(), "").map(lambda cell: escaped(one_line(str(cell))))
    return cells.set_axis([escaped(one_line(str(name))) for name in table], axis=1)
