"""What a nearest-neighbour entropy is worth: its bias where the truth is known, and bounds that hold anyway, in nats.

The bias is measured, not derived: the same estimator at the same N runs on samples of a law that is like the samples'
and whose density is known. Where an encoder tells its own p(z|x) that is a mixture of Gaussians with its noise
(`gaussian_mixture`). Elsewhere it is Gaussians with the samples' own covariance: with labels one per class around the
class's mean, all with the covariance within classes; without labels a single one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.entropies.bounds import (
    SampleLabels,
    conditional_gaussian_entropy_bound,
    gaussian_entropy_bound,
    joint_gaussian_entropy_bound,
)
from ibrobust.entropies.class_gaussians import fitted_class_gaussians
from ibrobust.entropies.entropy import Samples, conditional_knn_entropy, knn_entropy
from ibrobust.entropies.intervals import WIDEST
from ibrobust.randomness import Draw, sample_draw

_UNUSUAL = 0.1
"""Nats by which a calibrated estimate may miss its bounds, beside the error of its bias, before a sentence says so."""
_LEFT = 0.2
"""Share of the bias that may be left on Gaussians: their covariance is known from few samples (5 % at N = 2000 in 128
dimensions, 12 % in 256)."""


@runtime_checkable
class KnownLaw(Protocol):
    """A law of latents with classes whose density is known, `ClassGaussians` or `MixtureLaw`."""

    def sample(self, y: SampleLabels, draw: Draw) -> Samples: ...
    def log_density(self, z: Samples) -> Float[Tensor, " samples"]: ...
    def log_density_given_class(self, z: Samples, y: SampleLabels) -> Float[Tensor, " samples"]: ...


@dataclass(frozen=True)
class Neighbours:
    """How entropies are estimated, and how their bias is.

    Attributes:
        k: which neighbour counts.
        norm: of distances.
        repeats: sets of samples of a known law that the bias is measured on.
        seed: of those.
    """

    k: int = 3
    norm: str = "l2"
    repeats: int = 4
    seed: int = 0


THREE_NEIGHBOURS = Neighbours()


@dataclass(frozen=True)
class EntropyEstimate:
    """One estimate with all that is known about its error.

    Attributes:
        nats: what the estimator says; NaN where it cannot be computed and only bounds are known.
        estimator, k, n: how it was made, and from how many samples; no k without neighbours.
        bias: by how much the same estimator is too high on samples of a known law that is like theirs, at the same n;
            NaN where there are too few samples for such a law.
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

    @property
    def told(self) -> float:
        """`best`, or NaN where it lies between two bounds that are more than `WIDEST` apart: the interval is then all
        that is known. Without a lower or an upper bound there is no interval, and `warning` says so."""
        return math.nan if WIDEST < self.high - self.low < math.inf else self.best

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
            "those that its bias was measured on; trust the bounds"
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
    """H[Z] of any samples by `knn_entropy` with its bias and bounds; see `entropy_estimate` and `Neighbours`.

    Raises:
        BadInput: as `knn_entropy`.
    """
    return entropy_estimate(z, y, Neighbours(k, norm, repeats, seed), bounds=bounds)


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
    """H[Z|Y] of any samples by `conditional_knn_entropy` with its bias and bounds; see `Neighbours`.

    Raises:
        BadInput: as `conditional_knn_entropy`.
    """
    return conditional_entropy_estimate(z, y, Neighbours(k, norm, repeats, seed), bounds=bounds)


def entropy_estimate(
    z: Samples,
    y: SampleLabels | None = None,
    how: Neighbours = THREE_NEIGHBOURS,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    law: KnownLaw | None = None,
) -> EntropyEstimate:
    """H[Z] by `knn_entropy` with its bias and bounds.

    Args:
        y: labels, where the samples fall into classes.
        how: see `Neighbours`.
        bounds: what the caller knows; the upper one is cut with the Gaussian ones.
        law: what the bias is measured on; Gaussians of the same covariance by default.

    Raises:
        BadInput: as `knn_entropy`.
    """
    labels = torch.zeros(len(z), dtype=torch.int64, device=z.device) if y is None else y
    nats = knn_entropy(z, how.k, how.norm)
    known = law or fitted_class_gaussians(z, labels)
    bias = (math.nan, math.nan)
    if known is not None:
        bias = _bias(known, labels, lambda sample: knn_entropy(sample, how.k, how.norm), known.log_density, how)
    upper = (gaussian_entropy_bound(z).upper, joint_gaussian_entropy_bound(z, labels).upper)
    return EntropyEstimate(nats, f"knn-{how.norm}", how.k, len(z), *bias, *_in_order(bounds[0], min(bounds[1], *upper)))


def conditional_entropy_estimate(
    z: Samples,
    y: SampleLabels,
    how: Neighbours = THREE_NEIGHBOURS,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    law: KnownLaw | None = None,
) -> EntropyEstimate:
    """H[Z|Y] by `conditional_knn_entropy` with its bias and bounds; arguments as `entropy_estimate`.

    Raises:
        BadInput: as `conditional_knn_entropy`.
    """
    nats = conditional_knn_entropy(z, y, how.k, how.norm)
    known = law or fitted_class_gaussians(z, y)
    bias = (math.nan, math.nan)
    if known is not None:
        density = partial(known.log_density_given_class, y=y)
        bias = _bias(known, y, lambda sample: conditional_knn_entropy(sample, y, how.k, how.norm), density, how)
    upper = (gaussian_entropy_bound(z).upper, conditional_gaussian_entropy_bound(z, y).upper)
    return EntropyEstimate(nats, f"knn-{how.norm}", how.k, len(z), *bias, *_in_order(bounds[0], min(bounds[1], *upper)))


def _in_order(low: float, high: float) -> tuple[float, float]:
    """Bounds are averages over samples and may pass each other in one case of twenty: the value lies in between."""
    if high == -math.inf:
        return high, high
    return min(low, high), max(low, high)


def _bias(
    law: KnownLaw,
    y: SampleLabels,
    estimate: Callable[[Samples], float],
    log_density: Callable[[Samples], Float[Tensor, " samples"]],
    how: Neighbours,
) -> tuple[float, float]:
    """Mean and standard error, over sets of samples of the law, of the estimate minus −mean ln p of the same samples.

    The mean log density of the same samples has the expectation of the entropy, and most of the estimate's own noise.
    """
    draw = sample_draw(how.seed, torch.arange(len(y), device=y.device)).fold("calibration")
    samples = (law.sample(y, draw.fold(repeat)) for repeat in range(how.repeats))
    bias = torch.tensor([estimate(sample) + log_density(sample).mean().item() for sample in samples])
    # The spread of a single set is not known.
    error = bias.std().item() / math.sqrt(how.repeats) if how.repeats > 1 else math.nan
    return bias.mean().item(), error
