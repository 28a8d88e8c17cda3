"""Which ranks the samples leave open: intervals that hold for all models of a table at once."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from ibrobust.robustness.statistics import Numbers

MOST_RESAMPLES, FEWEST_RESAMPLES = 2000, 400
_PAIRS_TIMES_RESAMPLES = 250_000_000
"""About two seconds of work: tables of more than 500 models have fewer resamples."""


class RankIntervals(NamedTuple):
    """The best and the worst rank of each model that the samples allow."""

    low_M: NDArray[np.int64]
    high_M: NDArray[np.int64]


def rank_intervals(
    values_MN: NDArray[Any],
    *,
    whole: float | int = 1,
    spread_M: Numbers | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> RankIntervals:
    """Simultaneous intervals of the ranks of models by their mean over the samples, the highest first (Mogstad, Romano,
    Shaikh & Wilhelm 2023): a model's best rank is one more than the models that are surely better, its worst one leaves
    out those that are surely worse.

    A pair of models surely differs where its difference, in standard errors, is beyond the quantile of the largest such
    deviation over all pairs still in doubt, in a paired bootstrap over the samples; the pairs that are found are left
    out and the rest is tested again (Romano & Wolf 2005). So all intervals hold together with the level, whichever
    model is picked after a look at the table. Models with the same true mean share the ranks from the best to the worst
    place that they take. Half a sample is added that speaks for either model of a pair (Agresti & Min 2005), so that a
    few samples that differ do not make a difference sure. The order of the models changes nothing.

    Args:
        values_MN: models × the same samples. Integers are summed exactly, and give the same answer on any machine.
        whole: the value of a sample that a model gets altogether right.
        spread_M: standard error of a model's mean from what else was drawn, such as training seeds; none by default.
        level: at least this share of repetitions has every true rank in its interval.
        seed: of the resampling.
    """
    models, n = values_MN.shape
    values_MN = values_MN.astype(np.float64)
    total_M, spread_M = values_MN.sum(1), np.zeros(models) if spread_M is None else n * spread_M
    difference_MM = total_M[:, None] - total_M
    variance_MM = _variances(values_MN, difference_MM) + spread_M[:, None] ** 2 + spread_M**2
    distance_MM = np.abs(difference_MM) / np.sqrt(variance_MM + whole**2)
    # Pairs that agree on every sample never deviate.
    scale_MM = np.divide(1, np.sqrt(variance_MM), out=np.zeros_like(variance_MM), where=variance_MM > 0)
    deviation_MR = _deviations(values_MN, spread_M, seed)
    open_MM = np.triu(np.ones((models, models), bool), 1)
    while open_MM.any():
        largest_R = np.sort(_largest(deviation_MR, scale_MM, open_MM))
        place = min(int(np.ceil(level * (len(largest_R) + 1))), len(largest_R)) - 1
        surely_MM = open_MM & (distance_MM > max(float(largest_R[place]), float(ndtri((1 + level) / 2))))
        if not surely_MM.any():
            break
        open_MM &= ~surely_MM
    sure_MM = ~(open_MM | open_MM.T)
    better_M, worse_M = (sure_MM & (difference_MM < 0)).sum(1), (sure_MM & (difference_MM > 0)).sum(1)
    return RankIntervals(1 + better_M, models - worse_M)


def seed_spread(means_S: Numbers, *, level: float = 0.95) -> float:
    """Standard error of a mean over training seeds, widened so that a normal interval of it is as wide as Student's;
    0 of one seed, of which nothing is known."""
    seeds = len(means_S)
    if seeds == 1:
        return 0.0
    wider = stdtrit(seeds - 1, (1 + level) / 2) / ndtri((1 + level) / 2)
    return float(wider * means_S.std(ddof=1) / np.sqrt(seeds))


def _variances(values_MN: Numbers, difference_MM: Numbers) -> Numbers:
    """The variance of the sum over the samples of each pair's difference."""
    products_MM = values_MN @ values_MN.T
    own_M = np.diag(products_MM)
    variance_MM: Numbers = own_M[:, None] + own_M - 2 * products_MM - difference_MM**2 / values_MN.shape[1]
    # What rounding leaves of pairs that agree is not a variance.
    return np.where(variance_MM > 1e-9 * (own_M[:, None] + own_M), variance_MM, 0.0)


def _deviations(values_MN: Numbers, spread_M: Numbers, seed: int) -> NDArray[np.float32]:
    """Models × resamples: how far the sum over resampled samples is from the sum over the samples."""
    models, n = values_MN.shape
    pairs = max(1, models * (models - 1) // 2)
    resamples = min(MOST_RESAMPLES, max(FEWEST_RESAMPLES, _PAIRS_TIMES_RESAMPLES // pairs))
    generator = np.random.default_rng(seed)
    drawn_RN = generator.multinomial(n, np.full(n, 1 / n), size=resamples)
    deviation_MR = values_MN @ drawn_RN.T.astype(np.float64) - values_MN.sum(1, keepdims=True)
    if spread_M.any():
        deviation_MR += spread_M[:, None] * generator.standard_normal((models, resamples))
    deviation: NDArray[np.float32] = deviation_MR.astype(np.float32)
    return deviation


def _largest(deviation_MR: NDArray[np.float32], scale_MM: Numbers, open_MM: NDArray[np.bool_]) -> NDArray[np.float32]:
    """By resample, the largest deviation of an open pair, in its standard errors."""
    largest_R = np.zeros(deviation_MR.shape[1], np.float32)
    for first, (scale_M, open_M) in enumerate(zip(scale_MM.astype(np.float32), open_MM, strict=True)):
        others = np.flatnonzero(open_M)
        if len(others):
            apart_OR = deviation_MR[others]
            apart_OR -= deviation_MR[first]
            np.abs(apart_OR, out=apart_OR)
            apart_OR *= scale_M[others, None]
            np.maximum(largest_R, apart_OR.max(0), out=largest_R)
    return largest_R
