"""How sure a share is, and whether two models differ on the same samples."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri

from ibrobust.errors import BadInput
from ibrobust.robustness.storage import Results

Numbers = NDArray[np.float64]
Counts = int | float | np.number[Any] | Sequence[int] | NDArray[Any]

RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    value: Numbers
    low: Numbers
    high: Numbers


class McNemar(NamedTuple):
    """Two-sided p values of McNemar's test: the exact conditional one (never too small) and the mid-p (less
    conservative; Fagerland, Lydersen, Laake 2013)."""

    exact: Numbers
    mid: Numbers


def wilson_interval(successes: Counts, n: Counts, *, level: float = 0.95) -> Interval:
    """The share of successes with Wilson's score interval (Wilson 1927); any shape.

    Raises:
        BadInput: n < 1, successes outside [0, n] or a level outside (0, 1).
    """
    count, size = np.broadcast_arrays(np.asarray(successes, float), np.asarray(n, float))
    if not ((size >= 1) & (count >= 0) & (count <= size)).all() or not 0 < level < 1:
        raise BadInput(f"successes {successes!r}, n {n!r}, level {level}: 0 ≤ successes ≤ n, n ≥ 1, 0 < level < 1")
    z = ndtri((1 + level) / 2)
    share = count / size
    centre = (count + z**2 / 2) / (size + z**2)
    reach = z / (size + z**2) * np.sqrt(size * share * (1 - share) + z**2 / 4)
    # By algebra the ends are exactly 0 and 1 there; by rounding they would not be.
    low = np.where(count == 0, 0.0, centre - reach)
    return Interval(share, low, np.where(count == size, 1.0, centre + reach))


def mean_error(values_N: NDArray[Any], *, level: float = 0.95) -> float:
    """Half-width of an interval of the mean of independent values in [0, 1]: normal, with two values of 0 and two of 1
    added, so that values that are all alike leave some doubt (Agresti & Coull 1998, for more than two values)."""
    with_four = np.concatenate([values_N, [0, 0, 1, 1]])
    return float(ndtri((1 + level) / 2) * with_four.std() / np.sqrt(len(with_four)))


def paired_error(difference_N: NDArray[Any], *, level: float = 0.95) -> float:
    """Half-width of an interval of the mean difference of two outcomes, right or wrong, on the same samples: normal,
    with half a sample added to each of the four cells (Agresti & Min 2005), so that no difference leaves some doubt."""
    n = len(difference_N) + 2
    mean, square = difference_N.sum() / n, (np.square(difference_N).sum() + 1) / n
    return float(ndtri((1 + level) / 2) * np.sqrt((square - mean**2) / n))


def mcnemar(only_a: Counts, only_b: Counts) -> McNemar:
    """Whether two models' success rates differ, from the samples on which only one of them succeeds; any shape.

    Without such samples nothing speaks for a difference: both p are 1.
    """
    a, b = np.broadcast_arrays(np.asarray(only_a, int), np.asarray(only_b, int))
    n, fewer = a + b, np.minimum(a, b)
    below = bdtr(fewer, n, 0.5)
    at = below - np.where(fewer > 0, bdtr(fewer - 1.0, n, 0.5), 0.0)
    return McNemar(np.minimum(1.0, 2 * below), np.minimum(1.0, 2 * below - at))


class Comparison(NamedTuple):
    """Robust accuracy of A and B by radius and on average over the radii, on the same samples.

    Attributes:
        a_E, b_E: shares that survive all attacks.
        difference_E: a − b with its paired bootstrap interval.
        only_a_E, only_b_E: samples on which only one of them survives.
        p_E: McNemar's test.
        average: difference of robust_avg with its paired bootstrap interval.
        average_p: two-sided p of the sign-flip permutation test of that difference.
    """

    a_E: Numbers
    b_E: Numbers
    difference_E: Interval
    only_a_E: NDArray[np.int64]
    only_b_E: NDArray[np.int64]
    p_E: McNemar
    average: Interval
    average_p: float


def compared(a: Results, b: Results, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Two results of the same samples under the same protocol, sample by sample.

    Raises:
        BadInput: they are of different samples, radii, protocol, norm or noise view.
    """
    check_comparable(a, b)
    by_sample = [results.sample_N["sample"].argsort() for results in (a, b)]
    robust_a_EN, robust_b_EN = (
        results.robust_EN[:, order].astype(float) for results, order in zip((a, b), by_sample, strict=True)
    )
    difference_EN = robust_a_EN - robust_b_EN
    only_a_E, only_b_E = (difference_EN > 0).sum(1), (difference_EN < 0).sum(1)
    rows = np.concatenate([difference_EN, difference_EN.mean(0, keepdims=True)])
    means = paired_bootstrap(rows, level=level, resamples=resamples, seed=seed)
    return Comparison(
        robust_a_EN.mean(1),
        robust_b_EN.mean(1),
        Interval(*(ends[:-1] for ends in means)),
        only_a_E,
        only_b_E,
        mcnemar(only_a_E, only_b_E),
        Interval(*(ends[-1] for ends in means)),
        sign_flip_p(difference_EN.sum(0), resamples=resamples, seed=seed),
    )


def paired_bootstrap(
    difference_QN: Numbers, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Means over the samples with percentile intervals over resampled samples; one resampling for all rows.

    Args:
        difference_QN: quantities × samples. Samples that agree in every quantity are drawn together, so the cost
            depends on how many distinct ones there are.
    """
    distinct_PQ, counts_P = np.unique(difference_QN.T, axis=0, return_counts=True)
    n = difference_QN.shape[1]
    drawn_RP = np.random.default_rng(seed).multinomial(n, counts_P / n, size=resamples)
    means_RQ = drawn_RP @ distinct_PQ / n
    low, high = np.quantile(means_RQ, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(difference_QN.mean(1), low, high)


def sign_flip_p(difference_N: Numbers, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Two-sided p of the mean difference when each sample's sign could as well be the other one.

    Counts the observed assignment among the resamples, so it is never 0 and is valid for any number of them.
    """
    sizes_P, counts_P = np.unique(np.abs(difference_N[difference_N != 0]), return_counts=True)
    kept_RP = np.random.default_rng(seed).binomial(counts_P, 0.5, size=(resamples, len(counts_P)))
    sums_R = ((2 * kept_RP - counts_P) * sizes_P).sum(1)
    as_large = np.abs(sums_R) >= abs(difference_N.sum()) - 1e-9 * sizes_P.sum()
    return float((1 + as_large.sum()) / (1 + resamples))


def check_comparable(a: Results, b: Results) -> None:
    """Raises:
    BadInput: the two do not answer the same question about the same samples; names what differs.
    """
    for key in ("label", "norm", "radii", "view"):
        ours, theirs = (getattr(results.card.settings, key) for results in (a, b))
        if ours != theirs:
            name = "protocol" if key == "label" else key
            raise BadInput(f"these results cannot be compared: {name} is {ours} and {theirs}")
    samples = [results.sample_N.sort_values("sample")[["sample", "label"]].to_numpy() for results in (a, b)]
    fingerprints = [results.card.data.fingerprint if results.card.data else None for results in (a, b)]
    if not np.array_equal(samples[0], samples[1]) or fingerprints[0] != fingerprints[1]:
        raise BadInput(
            f"these results cannot be compared: they are of different samples ({len(samples[0])} and {len(samples[1])})"
        )
