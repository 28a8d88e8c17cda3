"""Lines of unregularised runs, which other runs are compared with."""

from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from ibrobust.figures.style import ADVERSARIAL, BASELINE, literal

APART = "apart"
"""A column that may be there: what tells an unregularised row from others, in words."""
_PLACE = "place"
_DASHES: tuple[Any, ...] = (BASELINE["linestyle"], (0, (7, 1.5, 1.5, 1.5, 1.5, 1.5)), (0, (12, 3)), (0, (2, 3)))


def with_places(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the place of each row's words in `apart` among those of the unregularised rows, the most frequent
    first; each place has dashes of its own. The same table where nothing tells them apart."""
    if APART not in table:
        return table
    words = table.loc[_is_baseline(table), APART].value_counts(sort=False)
    order = sorted(words.index, key=lambda word: (-words[word], word))
    return table.assign(**{_PLACE: table[APART].map(lambda word: order.index(word) if word in order else 0)})


def reference_line(row: "pd.Series[Any]") -> dict[str, Any]:
    """How the line of an unregularised row is drawn: adversarial, and maybe place."""
    if row["adversarial"]:
        return dict(ADVERSARIAL)
    return {**BASELINE, "linestyle": _DASHES[int(row.get(_PLACE, 0)) % len(_DASHES)]}


def reference_handles(table: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the unregularised rows that a table `with_places` holds."""
    handles = []
    baselines = table[_is_baseline(table)]
    for _, row in baselines.drop_duplicates(_PLACE if _PLACE in table else "reg").iterrows():
        more = f", {literal(row[APART])}" if row.get(APART, "") else ""
        handles.append((int(row.get(_PLACE, 0)), Line2D([], [], label=f"no regulariser{more}", **reference_line(row))))
    lines = [line for _, line in sorted(handles, key=lambda handle: handle[0])]
    adversarial = table[(table["reg"] == "none") & (table["adversarial"] != 0)]
    return [*lines, *([Line2D([], [], label="adversarially trained", **ADVERSARIAL)] if len(adversarial) else [])]


def _is_baseline(table: pd.DataFrame) -> "pd.Series[bool]":
    return (table["reg"] == "none") & (table["adversarial"] == 0)
