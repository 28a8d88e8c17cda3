"""What a nearest-neighbour entropy is worth: its bias where the truth is known, and bounds that hold anyway, in nats.

The bias is measured, not derived: the same estimator at the same N runs on samples of Gaussians with the samples' own
covariance. With labels that is one Gaussian per class around the class's mean, all with the covariance within
classes: what a classifier's latent looks like. Without labels it is one Gaussian.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.entropies.class_gaussians import ClassGaussians, fitted_class_gaussians
from ibrobust.entropies.entropy import Samples, classes, conditional_knn_entropy, digamma, knn_entropy
from ibrobust.randomness import sample_draw

SampleLabels = Int[Tensor, " samples"]

_LN_2PIE = math.log(2 * math.pi * math.e)


@dataclass(frozen=True)
class EntropyEstimate:
    """One estimate with all that is known about its error.

    Attributes:
        nats: what the estimator says; NaN where it cannot be computed and only bounds are known.
        estimator, k, n: how it was made, and from how many samples; no k without neighbours.
        bias: by how much the same estimator is too high on Gaussians of the same covariance and the same n; NaN where
            there are too few samples for a covariance.
        bias_error: standard error of `bias`.
        low, high: bounds that hold whatever the distribution, up to sampling.
    """

    nats: float
    estimator: str
    k: int | None
    n: int
    bias: float
    bias_error: float
    low: float
    high: float

    @property
    def calibrated(self) -> float:
        """The estimate without the bias."""
        return self.nats - self.bias

    @property
    def best(self) -> float:
        """The calibrated estimate (the raw one without a bias), moved into its bounds; NaN where there is none."""
        value = self.calibrated if math.isfinite(self.bias) else self.nats
        return min(max(value, self.low), self.high) if math.isfinite(value) else math.nan

    def __sub__(self, exact: float) -> "EntropyEstimate":
        """The same estimate less something that is known exactly."""
        return replace(self, nats=self.nats - exact, low=self.low - exact, high=self.high - exact)

    def warning(self, quantity: str) -> str | None:
        """A sentence where the estimate lies outside its bounds."""
        if math.isnan(self.nats) or self.low <= self.nats <= self.high:
            return None
        side, bound = ("above", self.high) if self.nats > self.high else ("below", self.low)
        known = math.isfinite(self.bias)
        advice = f"without its bias of {self.bias:+.4g} it is {self.calibrated:.4g}" if known else "take more samples"
        return (
            f"{quantity} {self.nats:.4g} ({self.estimator}, k = {self.k}, n = {self.n}) lies {side} its bound "
            f"{bound:.4g}: {advice}"
        )


def calibrated_entropy(
    z: Samples,
    y: SampleLabels | None = None,
    *,
    k: int = 3,
    norm: str = "l2",
    low: float = -math.inf,
    high: float = math.inf,
    repeats: int = 4,
    seed: int = 0,
) -> EntropyEstimate:
    """H[Z] by `knn_entropy` with its bias and bounds.

    Args:
        y: labels, where the samples fall into classes.
        low, high: bounds that the caller knows; `high` is cut with the Gaussian ones.
        repeats: sets of Gaussian samples that the bias is measured on.

    Raises:
        BadInput: as `knn_entropy`.
    """
    labels = torch.zeros(len(z), dtype=torch.int64, device=z.device) if y is None else y
    nats = knn_entropy(z, k, norm)
    bias = _bias(
        z, labels, lambda sample: knn_entropy(sample, k, norm), ClassGaussians.log_density, repeats=repeats, seed=seed
    )
    # H[Z] ≤ H[Z, Y] = H[Y] + H[Z|Y]: tighter where the classes lie apart.
    within_classes = label_entropy(labels) + conditional_gaussian_entropy_bound(z, labels)
    bounds = _in_order(low, min(high, gaussian_entropy_bound(z), within_classes))
    return EntropyEstimate(nats, f"knn-{norm}", k, len(z), *bias, *bounds)


def calibrated_conditional_entropy(
    z: Samples,
    y: SampleLabels,
    *,
    k: int = 3,
    norm: str = "l2",
    low: float = -math.inf,
    high: float = math.inf,
    repeats: int = 4,
    seed: int = 0,
) -> EntropyEstimate:
    """H[Z|Y] by `conditional_knn_entropy` with its bias and bounds; arguments as `calibrated_entropy`.

    Raises:
        BadInput: as `conditional_knn_entropy`.
    """
    nats = conditional_knn_entropy(z, y, k, norm)
    bias = _bias(
        z,
        y,
        lambda sample: conditional_knn_entropy(sample, y, k, norm),
        lambda gaussians, sample: gaussians.log_density_given_class(sample, y),
        repeats=repeats,
        seed=seed,
    )
    bounds = _in_order(low, min(high, gaussian_entropy_bound(z), conditional_gaussian_entropy_bound(z, y)))
    return EntropyEstimate(nats, f"knn-{norm}", k, len(z), *bias, *bounds)


def _in_order(low: float, high: float) -> tuple[float, float]:
    """Tight bounds, averages over samples, may pass each other by a hundredth of a nat: the value lies in between."""
    return min(low, high), max(low, high)


def _bias(
    z: Samples,
    y: SampleLabels,
    estimate: Callable[[Samples], float],
    log_density: Callable[[ClassGaussians, Samples], Float[Tensor, " samples"]],
    *,
    repeats: int,
    seed: int,
) -> tuple[float, float]:
    """Mean and standard error, over sets of Gaussian samples, of the estimate minus −mean ln p of the same samples.

    The mean log density of the same samples has the expectation of the entropy, and most of the estimate's own noise.
    """
    gaussians = fitted_class_gaussians(z, y)
    if gaussians is None:
        return math.nan, math.nan
    draw = sample_draw(seed, torch.arange(len(z), device=z.device)).fold("calibration")
    samples = (gaussians.sample(y, draw.fold(repeat)) for repeat in range(repeats))
    bias = torch.tensor([estimate(sample) + log_density(gaussians, sample).mean().item() for sample in samples])
    # The spread of a single set is not known.
    error = bias.std().item() / math.sqrt(repeats) if repeats > 1 else math.nan
    return bias.mean().item(), error


def gaussian_entropy_bound(z: Samples) -> float:
    """½ ln det(2πe Cov Z), the largest entropy with this covariance; ∞ with fewer samples than dimensions.

    The logarithm of a sample covariance's determinant is too small by a known amount for Gaussian samples (3.4 nats
    of H at N = 5000 in 256 dimensions), which is added back (Misra, Singh and Demchuk 2005).
    """
    count, dims = z.shape
    if count <= dims:
        return math.inf
    log_determinant = float(torch.linalg.slogdet(torch.cov(z.double().T).view(dims, dims)).logabsdet)
    return 0.5 * (dims * _LN_2PIE + log_determinant - _log_determinant_bias(count, dims))


def diagonal_gaussian_entropy_bound(z: Samples) -> float:
    """Σ_i ½ ln(2πe Var Z_i): looser than `gaussian_entropy_bound`, and what the log-variance regulariser minimises."""
    count, dims = z.shape
    log_variance = float(z.double().var(dim=0).log().sum())
    return 0.5 * (dims * _LN_2PIE + log_variance - dims * _log_determinant_bias(count, 1))


def conditional_gaussian_entropy_bound(z: Samples, y: SampleLabels) -> float:
    """Σ_y p(y) ½ ln det(2πe Cov[Z|y]) ≥ H[Z|Y]; ∞ where a class has fewer samples than dimensions."""
    return sum(share * gaussian_entropy_bound(z_class) for share, z_class in classes(z, y, at_least=1))


def label_entropy(y: SampleLabels) -> float:
    """H[Y] of the labels' shares."""
    shares = torch.bincount(y).double() / len(y)
    return float(-torch.special.xlogy(shares, shares).sum())


def _log_determinant_bias(count: int, dims: int) -> float:
    """E ln det S − ln det Σ of a Gaussian's sample covariance S."""
    freedom = count - 1
    return sum(digamma((freedom - i) / 2) for i in range(dims)) + dims * math.log(2 / freedom)


@dataclass(frozen=True)
class SubsamplingCurve:
    """The estimate against the number of samples: where it still falls, it is not there yet.

    Attributes:
        sizes: N/8, N/4, N/2, N.
        nats: the mean estimate over disjoint subsets of each size.
        extrapolated: the limit if the differences go on shrinking at the same rate (Aitken's Δ² process, the rate
            from all four sizes); NaN where they do not shrink. In high dimension still far too high.
    """

    sizes: tuple[int, ...]
    nats: tuple[float, ...]
    extrapolated: float


def subsampling_curve(z: Samples, *, k: int = 3, norm: str = "l2", seed: int = 0) -> SubsamplingCurve:
    """`knn_entropy` at N/8, N/4, N/2 and N; costs about as much as two estimates at N.

    Raises:
        BadInput: as `knn_entropy`, at N/8 samples.
    """
    keys = sample_draw(seed, torch.arange(len(z), device=z.device)).fold("subsampling").uniform()
    shuffled = z[keys.argsort(stable=True)]
    sizes = tuple(len(z) // parts for parts in (8, 4, 2, 1))
    nats = tuple(
        sum(knn_entropy(shuffled[part * size : (part + 1) * size], k, norm) for part in range(parts)) / parts
        for parts, size in zip((8, 4, 2, 1), sizes, strict=True)
    )
    return SubsamplingCurve(sizes, nats, _limit(nats))


def _limit(nats: tuple[float, ...]) -> float:
    first, second, third = (after - before for before, after in itertools.pairwise(nats))
    rate = (second + third) / (first + second) if first + second else 0.0
    return nats[-1] + third * rate / (1 - rate) if 0 <= rate < 1 else math.nan
