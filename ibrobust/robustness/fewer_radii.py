"""A result at some of its radii, so that it can stand beside those that were attacked at these alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ibrobust.robustness.results import NAN_GRADIENT, SAMPLE_COLUMNS, BreakingRadii
from ibrobust.robustness.storage import Results


def at_radii(result: Results, radii: Sequence[float]) -> Results | None:
    """The result as if it had been asked at these radii alone; None where one of them was not.

    What survives at a radius is what survived there. A sample that was broken at a radius that is left out counts as
    broken at the next larger one that is kept, and as unbroken beyond the largest.

    Args:
        radii: compared as float32, in any order.
    """
    wanted_E = np.unique(np.asarray(radii, dtype=np.float32))
    kept_E = np.isin(result.radii_E, wanted_E)
    if kept_E.sum() < len(wanted_E):
        return None
    eps = tuple(radius for radius, kept in zip(result.card.settings.radii, kept_E, strict=True) if kept)
    card = result.card.model_copy(update={"settings": result.card.settings.model_copy(update={"eps": eps})})
    if isinstance(result, BreakingRadii):
        return replace(result, rows=_rounded_up(result.rows, wanted_E), card=card)
    return replace(result, rows=result.rows[np.isin(result.rows["eps"].to_numpy(np.float32), wanted_E)], card=card)


def _rounded_up(rows: pd.DataFrame, radius_E: NDArray[np.float32]) -> pd.DataFrame:
    """Breaking radii that are 0, one of these, or infinite."""
    steps_E = np.append(np.union1d(np.float32(0), radius_E), np.float32(np.inf))
    attacks = [name for name in rows if name not in (*SAMPLE_COLUMNS, NAN_GRADIENT)]
    return rows.assign(**{str(name): steps_E[np.searchsorted(steps_E, rows[name])] for name in attacks})
