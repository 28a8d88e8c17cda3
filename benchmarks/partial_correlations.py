"""Which quantity goes along with robustness once accuracy is held fixed: partial rank correlations with intervals."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from numpy.typing import NDArray

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
_RESAMPLED = 400
Numbers = NDArray[np.float64]


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Of each data set and quantity: Spearman's correlation with robustness over all runs, the same with clean accuracy
    held fixed, and that within and between regularisers; each with a bootstrap interval of 95 %.

    Within: ranks less the regulariser's mean rank, runs drawn anew within each regulariser. Between: the regularisers'
    means, regularisers drawn anew. Information is drawn anew between its bounds as well. Adversarially trained runs are
    left out: they are another experiment.
    """
    rows = []
    for dataset, runs in table[table["adversarial"] == 0].groupby("dataset", sort=False):
        for quantity in QUANTITIES:
            known = runs[np.isfinite(_middle(runs, quantity))]
            rows.append(
                {
                    "dataset": dataset,
                    "quantity": quantity,
                    "runs": len(known),
                    "alone": _with_interval(known, quantity, _alone, strata=False),
                    "accuracy fixed": _with_interval(known, quantity, _partial, strata=False),
                    "within": _with_interval(known, quantity, _within, strata=True),
                    "between": _with_interval(known, quantity, _between, strata=False),
                }
            )
    return pd.DataFrame(rows)


def partial_correlation(x: Numbers, y: Numbers, held: Numbers) -> float:
    """Pearson's correlation of what a line through `held` leaves of x and of y; NaN where that is nothing."""
    left = [values - np.polyval(np.polyfit(held, values, 1), held) if np.ptp(held) > 0 else values for values in (x, y)]
    return _correlation(*left)


def _correlation(x: Numbers, y: Numbers) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 1e-9 else np.nan


def _middle(runs: pd.DataFrame, quantity: str) -> pd.Series:
    if quantity != "information":
        return runs[quantity]
    return (runs["information_low"] + runs["information_high"]) / 2


def _alone(x: Numbers, runs: pd.DataFrame) -> float:
    return _correlation(_ranks(x), _ranks(runs[OUTCOME]))


def _partial(x: Numbers, runs: pd.DataFrame) -> float:
    return partial_correlation(_ranks(x), _ranks(runs[OUTCOME]), _ranks(runs[CONTROL]))


def _within(x: Numbers, runs: pd.DataFrame) -> float:
    columns = pd.DataFrame({"x": _ranks(x), "y": _ranks(runs[OUTCOME]), "held": _ranks(runs[CONTROL])})
    left = columns - columns.groupby(runs["reg"].to_numpy()).transform("mean")
    return partial_correlation(*(left[name].to_numpy() for name in ("x", "y", "held")))


def _between(x: Numbers, runs: pd.DataFrame) -> float:
    columns = pd.DataFrame({"x": _ranks(x), "y": _ranks(runs[OUTCOME]), "held": _ranks(runs[CONTROL])})
    means = columns.groupby(runs["group"].to_numpy() if "group" in runs else runs["reg"].to_numpy()).mean()
    return partial_correlation(*(means[name].to_numpy() for name in ("x", "y", "held")))


def _ranks(values: pd.Series | Numbers) -> Numbers:
    return pd.Series(np.asarray(values, dtype=float)).rank().to_numpy()


def _with_interval(runs: pd.DataFrame, quantity: str, statistic: object, *, strata: bool) -> str:
    """`r [low, high]`."""
    assert callable(statistic)
    if len(runs) < 5:
        return ""
    random = np.random.default_rng(0)
    found = statistic(_middle(runs, quantity).to_numpy(float), runs)
    drawn = [
        statistic(_value(sample, quantity, random), sample)
        for sample in (_drawn(runs, statistic is _between, strata, random) for _ in range(_RESAMPLED))
    ]
    known = [value for value in drawn if np.isfinite(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
    return f"{found:+.2f} [{low:+.2f}, {high:+.2f}]"


def _drawn(runs: pd.DataFrame, groups: bool, strata: bool, random: np.random.Generator) -> pd.DataFrame:
    """Runs drawn anew: from all, within each regulariser, or whole regularisers."""
    parts = [part for _, part in runs.groupby("reg", sort=True)]
    if groups:
        chosen = random.integers(len(parts), size=len(parts))
        return pd.concat([parts[place].assign(group=number) for number, place in enumerate(chosen)])
    if strata:
        return pd.concat([part.iloc[random.integers(len(part), size=len(part))] for part in parts])
    return runs.iloc[random.integers(len(runs), size=len(runs))]


def _value(runs: pd.DataFrame, quantity: str, random: np.random.Generator) -> Numbers:
    if quantity != "information":
        return runs[quantity].to_numpy(float)
    low, high = runs["information_low"].to_numpy(float), runs["information_high"].to_numpy(float)
    return low + random.random(len(runs)) * (high - low)


def quantity_figure(table: pd.DataFrame, quantity: str) -> Figure:
    """Mean robustness against one quantity: a panel per data set, a line per regulariser along γ, bars for bounds."""
    datasets = list(dict.fromkeys(table["dataset"]))
    regs = sorted(set(table["reg"]))
    colours = dict(zip(regs, sns.color_palette("colorblind", len(regs)), strict=True))
    figure = Figure(figsize=(4.2 * len(datasets), 3.4), layout="constrained")
    for ax, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        runs = table[(table["dataset"] == dataset) & (table["adversarial"] == 0)]
        for reg, curve in runs.sort_values(["gamma", "seed"]).groupby("reg"):
            x, colour = _middle(curve, quantity), colours[reg]
            if quantity == "information":
                ax.hlines(curve[OUTCOME], curve["information_low"], curve["information_high"], color=colour, alpha=0.5)
                x = curve["information"]
            ax.plot(
                x, curve[OUTCOME], "o" if reg == "none" else "o-", color=colour, markersize=4, linewidth=0.8, label=reg
            )
        ax.set(xlabel=QUANTITIES[quantity], ylabel="robust accuracy, mean over ε", title=dataset)
        if _middle(runs, quantity).max() > 20 * max(_middle(runs, quantity).min(), 1e-9):
            ax.set_xscale("log")
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    return figure
