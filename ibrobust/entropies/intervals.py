"""Which numbers are told of an interval. Nothing here needs a model, and so no torch."""

import numpy as np
import pandas as pd

WIDEST = 1.0
"""Nats between the bounds beyond which no number is told: it would be one of many."""


def told(best: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    """The estimates, NaN where two bounds are more than `WIDEST` apart."""
    apart = high - low
    return best.where(~((apart > WIDEST) & np.isfinite(apart)))
