"""What a nearest-neighbour entropy is worth: its bias where the truth is known, and bounds that hold anyway, in nats.

The bias is measured, not derived: the same estimator at the same N runs on samples of Gaussians with the samples' own
covariance. With labels that is one Gaussian per class around the class's mean, all with the covariance within
classes: what a classifier's latent looks like. Without labels it is one Gaussian.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.entropies.bounds import (
    SampleLabels,
    conditional_gaussian_entropy_bound,
    gaussian_entropy_bound,
    joint_gaussian_entropy_bound,
)
from ibrobust.entropies.class_gaussians import ClassGaussians, fitted_class_gaussians
from ibrobust.entropies.entropy import Samples, conditional_knn_entropy, knn_entropy
from ibrobust.randomness import sample_draw

_UNUSUAL = 0.1
"""Nats by which a calibrated estimate may miss its bounds, beside the error of its bias, before a sentence says so."""
_LEFT = 0.2
"""Share of the bias that may be left on Gaussians: their covariance is known from few samples (5 % at N = 2000 in 128
dimensions, 12 % in 256)."""


@dataclass(frozen=True)
class EntropyEstimate:
    """One estimate with all that is known about its error.

    Attributes:
        nats: what the estimator says; NaN where it cannot be computed and only bounds are known.
        estimator, k, n: how it was made, and from how many samples; no k without neighbours.
        bias: by how much the same estimator is too high on Gaussians of the same covariance and the same n; NaN where
            there are too few samples for a covariance.
        bias_error: standard error of `bias`.
        low, high: bounds that hold whatever the distribution, their own sampling error included: both at once with
            95 %.
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
        """A sentence where the number should not be read as an estimate: where the samples have no density, where
        there is no bias or no bound to check it with, and where it lies outside its bounds by more than its error."""
        if math.isnan(self.nats):
            return None
        made = f"{quantity} {self.nats:.4g} ({self.estimator}, k = {self.k}, n = {self.n})"
        if self.high == -math.inf:
            return f"{made}: the samples lie in fewer dimensions than they have, so that the entropy is −∞"
        if math.isnan(self.bias) or self.high == math.inf:
            known = f"trust the bounds {self.low:.4g} to {self.high:.4g}" if self.high < math.inf else "it has no bound"
            few = "there are too few samples for a covariance, and so for its bias"
            return f"{made} may be too high by many nats: {few}; {known}, or take more samples than dimensions"
        if self.low == -math.inf:
            return f"{made} has no lower bound: calibrated it is {self.calibrated:.4g}, the upper bound {self.high:.4g}"
        return self._contradiction(made)

    def _contradiction(self, made: str) -> str | None:
        measured = 3 * self.bias_error if math.isfinite(self.bias_error) else 0.0
        allowed = _UNUSUAL + measured + _LEFT * abs(self.bias)
        if self.low - allowed <= self.calibrated <= self.high + allowed:
            return None
        side, bound = ("above", self.high) if self.calibrated > self.high else ("below", self.low)
        return (
            f"{made}, calibrated {self.calibrated:.4g}, lies {side} its bound {bound:.4g}: the samples are not like "
            "the Gaussians that its bias was measured on; trust the bounds"
        )


def calibrated_entropy(
    z: Samples,
    y: SampleLabels | None = None,
    *,
    k: int = 3,
    norm: str = "l2",
    bounds: tuple[float, float] = (-math.inf, math.inf),
    repeats: int = 4,
    seed: int = 0,
) -> EntropyEstimate:
    """H[Z] by `knn_entropy` with its bias and bounds.

    Args:
        y: labels, where the samples fall into classes.
        bounds: what the caller knows; the upper one is cut with the Gaussian ones.
        repeats: sets of Gaussian samples that the bias is measured on.

    Raises:
        BadInput: as `knn_entropy`.
    """
    labels = torch.zeros(len(z), dtype=torch.int64, device=z.device) if y is None else y
    nats = knn_entropy(z, k, norm)
    bias = _bias(
        z, labels, lambda sample: knn_entropy(sample, k, norm), ClassGaussians.log_density, repeats=repeats, seed=seed
    )
    upper = (gaussian_entropy_bound(z).upper, joint_gaussian_entropy_bound(z, labels).upper)
    return EntropyEstimate(nats, f"knn-{norm}", k, len(z), *bias, *_in_order(bounds[0], min(bounds[1], *upper)))


def calibrated_conditional_entropy(
    z: Samples,
    y: SampleLabels,
    *,
    k: int = 3,
    norm: str = "l2",
    bounds: tuple[float, float] = (-math.inf, math.inf),
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
    upper = (gaussian_entropy_bound(z).upper, conditional_gaussian_entropy_bound(z, y).upper)
    return EntropyEstimate(nats, f"knn-{norm}", k, len(z), *bias, *_in_order(bounds[0], min(bounds[1], *upper)))


def _in_order(low: float, high: float) -> tuple[float, float]:
    """Bounds are averages over samples and may pass each other in one case of twenty: the value lies in between."""
    if high == -math.inf:
        return high, high
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
