"""Which quantity goes along with robustness once accuracy is held fixed: partial rank correlations with intervals."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import rankdata

OUTCOME = "robust_avg"
CONTROL = "clean"
QUANTITIES = {
    "information": "preserved information of the training images, nats",
    "latent_margin": "distance to the decision boundary in the latent",
    "lipschitz": "largest singular value of the encoder's Jacobian",
    "logit_margin": "logit of the label less the largest other",
    "linear_radius": "L∞ radius of the boundary if the network were linear",
    "fall": "share of the promised fall of the margin at ε = 0.05",
    "certified": "certified L∞ radius",
}
_RECIPE = ("dataset", "reg", "gamma", "adversarial", "noise", "epochs")
_RESAMPLED = 1000
_FEWEST = 5
_NOTHING = 1e-9
Numbers = NDArray[np.float64]


def correlations(table: pd.DataFrame, resampled: int = _RESAMPLED) -> pd.DataFrame:
    """Of each data set and quantity: Spearman's correlation with robustness over all runs, the same with clean accuracy
    held fixed, and that within and between regularisers; each with an interval of 95 %.

    What is drawn anew, or left out, is a recipe with all its seeds, which have more in common than two recipes do.
    Within: ranks less the regulariser's mean rank, one recipe left out at a time. Between: the regularisers' means,
    regularisers drawn. Information is drawn anew between its bounds as well. Adversarially trained runs are left out:
    they are another experiment.
    """
    rows = []
    for dataset, runs in table[table["adversarial"] == 0].groupby("dataset", sort=False):
        for quantity in QUANTITIES:
            known = runs[np.isfinite(_middle(runs, quantity))]
            rows.append(
                {"dataset": dataset, "quantity": quantity, "runs": len(known)}
                | {name: _told(with_interval(known, quantity, name, resampled)) for name in STATISTICS}
            )
    return pd.DataFrame(rows)


def partial_correlation(x: Numbers, y: Numbers, held: Numbers) -> float:
    """Pearson's correlation of what a line through `held` leaves of x and of y; NaN where that is nothing."""
    x, y, held = (values - values.mean() for values in (x, y, held))
    size = held @ held
    if size > _NOTHING:
        x, y = (values - (values @ held) / size * held for values in (x, y))
    return _correlation(x, y)


def _correlation(x: Numbers, y: Numbers) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > _NOTHING else np.nan


def _middle(runs: pd.DataFrame, quantity: str) -> pd.Series:
    if quantity != "information":
        return runs[quantity]
    return (runs["information_low"] + runs["information_high"]) / 2


def _recipes(runs: pd.DataFrame) -> NDArray[np.int64]:
    """A number for each run's recipe, in the order in which they come: all that is known but the seed. Where a seed
    would be there twice not all is known, and each run stays alone."""
    known = [name for name in _RECIPE if name in runs]
    if "seed" not in runs or runs.duplicated([*known, "seed"]).any():
        return np.arange(len(runs))
    return runs.groupby(known, sort=False, dropna=False).ngroup().to_numpy(np.int64)


class _Runs(NamedTuple):
    """Columns of some runs; information lies between its bounds."""

    low: Numbers
    high: Numbers
    robust: Numbers
    clean: Numbers
    reg: NDArray[np.int64]
    recipe: NDArray[np.int64]

    def rows(self, kept: NDArray[np.int64]) -> "_Runs":
        return _Runs(*(column[kept] for column in self))


def _alone(x: Numbers, runs: _Runs) -> float:
    return _correlation(rankdata(x), rankdata(runs.robust))


def _partial(x: Numbers, runs: _Runs) -> float:
    return partial_correlation(rankdata(x), rankdata(runs.robust), rankdata(runs.clean))


def _within(x: Numbers, runs: _Runs) -> float:
    ranks = [rankdata(values) for values in (x, runs.robust, runs.clean)]
    return partial_correlation(*(values - _means(values, runs.reg)[runs.reg] for values in ranks))


def _between(x: Numbers, runs: _Runs) -> float:
    ranks = [rankdata(values) for values in (x, runs.robust, runs.clean)]
    return partial_correlation(*(_means(values, runs.reg) for values in ranks))


def _means(values: Numbers, groups: NDArray[np.int64]) -> Numbers:
    counts = np.bincount(groups)
    return np.bincount(groups, weights=values) / counts


STATISTICS: dict[str, Callable[[Numbers, _Runs], float]] = {
    "alone": _alone,
    "accuracy fixed": _partial,
    "within": _within,
    "between": _between,
}


class Interval(NamedTuple):
    """A correlation and its 95 % interval; NaN where there are too few runs or nothing varies."""

    found: float
    low: float
    high: float


def with_interval(table: pd.DataFrame, quantity: str, statistic: str, resampled: int = _RESAMPLED) -> Interval:
    """One of `STATISTICS` of the runs in a table, with its interval from so many draws."""
    if len(table) < _FEWEST:
        return Interval(np.nan, np.nan, np.nan)
    ends = [quantity, quantity] if quantity != "information" else ["information_low", "information_high"]
    columns = [table[name].to_numpy(float) for name in (*ends, OUTCOME, CONTROL)]
    runs = _Runs(*columns, table["reg"].astype("category").cat.codes.to_numpy(np.int64), _recipes(table))
    interval = _jackknifed if statistic == "within" else _bootstrapped
    return interval(runs, statistic, resampled)


def _bootstrapped(runs: _Runs, statistic: str, resampled: int) -> Interval:
    """Percentiles over recipes drawn anew, each with all its seeds, or whole regularisers for what is between them."""
    random, correlation = np.random.default_rng(0), STATISTICS[statistic]
    parts = _places(runs.reg if statistic == "between" else runs.recipe)
    drawn = []
    for _ in range(resampled):
        chosen = [parts[place] for place in random.integers(len(parts), size=len(parts))]
        again = runs.rows(np.concatenate(chosen))
        if statistic == "between":
            again = again._replace(reg=np.repeat(np.arange(len(chosen)), [len(part) for part in chosen]))
        drawn.append(correlation(_between_bounds(again, random), again))
    known = [value for value in drawn if np.isfinite(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
    return Interval(correlation(_between_bounds(runs), runs), float(low), float(high))


def _jackknifed(runs: _Runs, statistic: str, resampled: int) -> Interval:
    """Student's interval on Fisher's scale, from one recipe left out at a time: a regulariser has too few recipes to be
    drawn anew from. The jackknife's factor (n − 1) / n is left out, because what ranks are taken less, the mean of n
    recipes, makes them vary less by as much."""
    random, correlation = np.random.default_rng(0), STATISTICS[statistic]
    found = correlation(_between_bounds(runs), runs)
    variance, freedom = 0.0, 0
    for regulariser in _places(runs.reg):
        recipes = np.unique(runs.recipe[regulariser])
        if len(recipes) == 1:
            continue
        kept = [runs.rows(np.flatnonzero(runs.recipe != recipe)) for recipe in recipes]
        without = np.array([_fisher(correlation(_between_bounds(one), one)) for one in kept])
        variance += float(np.square(without - without.mean()).sum())
        freedom += len(recipes) - 1
    if not np.isfinite(found) or not freedom:
        return Interval(found, np.nan, np.nan)
    if (runs.low < runs.high).any():
        variance += float(
            np.nanvar([_fisher(correlation(_between_bounds(runs, random), runs)) for _ in range(resampled)])
        )
    half = stdtrit(freedom, 0.975) * np.sqrt(variance)
    return Interval(found, float(np.tanh(_fisher(found) - half)), float(np.tanh(_fisher(found) + half)))


def _fisher(correlation: float) -> float:
    return float(np.arctanh(np.clip(correlation, -1 + _NOTHING, 1 - _NOTHING)))


def _between_bounds(runs: _Runs, random: np.random.Generator | None = None) -> Numbers:
    """The quantity of each run: the middle of its bounds, or a number drawn between them."""
    share = 0.5 if random is None or (runs.low == runs.high).all() else random.random(len(runs.low))
    return runs.low + share * (runs.high - runs.low)


def _places(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Where each of the numbers stands, in their order."""
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


def _told(interval: Interval) -> str:
    """`r [low, high]`; nothing where there is none."""
    return "{:+.2f} [{:+.2f}, {:+.2f}]".format(*interval) if np.isfinite(interval.found) else ""


def quantity_figure(table: pd.DataFrame, quantity: str) -> Figure:
    """Mean robustness against one quantity: a panel per data set, a line per regulariser along γ, bars for bounds."""
    datasets = list(dict.fromkeys(table["dataset"]))
    regs = sorted(set(table["reg"]))
    colours = dict(zip(regs, sns.color_palette("colorblind", len(regs)), strict=True))
    figure = Figure(figsize=(4.8 * len(datasets), 3.4), layout="constrained")
    for ax, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        runs = table[(table["dataset"] == dataset) & (table["adversarial"] == 0)]
        for reg, curve in runs.sort_values(["gamma", "seed"]).groupby("reg"):
            x, colour = _middle(curve, quantity), colours[reg]
            if quantity == "information":
                ax.hlines(curve[OUTCOME], curve["information_low"], curve["information_high"], color=colour, alpha=0.5)
                x = curve["information"]
            ax.plot(x, curve[OUTCOME], "o", color=colour, markersize=4, label=reg)
            if reg != "none":
                seeds = pd.DataFrame({"gamma": curve["gamma"], "x": x, "y": curve[OUTCOME].where(x.notna())})
                middle = seeds.groupby("gamma").mean()
                ax.plot(middle["x"], middle["y"], color=colour, linewidth=0.8)
        ax.set(xlabel=QUANTITIES[quantity], ylabel="robust accuracy, mean over ε", title=dataset)
        if _middle(runs, quantity).max() > 20 * max(_middle(runs, quantity).min(), 1e-9):
            if quantity == "information":  # It may be 0, and its lower bound below.
                ax.set_xscale("symlog", linthresh=1)
            else:
                ax.set_xscale("log")
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    return figure
