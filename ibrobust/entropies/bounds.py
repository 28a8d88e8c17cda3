"""Upper bounds of an entropy from covariances, each with its own sampling error, in nats.

No law of a given covariance has a larger entropy than the Gaussian. The covariance itself is measured, so the bound
is an average over samples, and half of all averages lie below what they estimate: a `Bound` knows its standard error.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.entropies.entropy import Samples, classes, digamma
from ibrobust.models.noise import LN_2PIE

SampleLabels = Int[Tensor, " samples"]

ERRORS = 2.4
"""Standard errors between a measured bound and the one that is reported: a chance of 0.8 % each, so that the smallest
of three upper bounds lies below the truth with at most 2.5 %, and an interval holds with 95 %."""


class Bound(NamedTuple):
    """A bound that was measured on samples: its value and the standard error of that, in nats."""

    nats: float
    error: float

    @property
    def upper(self) -> float:
        """The value raised by its sampling error, where it bounds from above."""
        return self.nats + ERRORS * self.error

    @property
    def lower(self) -> float:
        """The value lowered by its sampling error, where it bounds from below."""
        return self.nats - ERRORS * self.error


NOTHING = Bound(0.0, 0.0)
NO_UPPER = Bound(math.inf, 0.0)
NO_DENSITY = Bound(-math.inf, 0.0)
"""The bound of samples that lie in fewer dimensions than they have: their entropy is −∞."""


def gaussian_entropy_bound(z: Samples) -> Bound:
    """½ ln det(2πe Cov Z), the largest entropy with this covariance; ∞ with fewer samples than dimensions, −∞ where
    the samples lie in fewer dimensions than they have.

    The logarithm of a sample covariance's determinant is too small by a known amount for Gaussian samples (3.4 nats
    of H at N = 5000 in 256 dimensions), which is added back (Misra, Singh and Demchuk 2005).
    """
    return conditional_gaussian_entropy_bound(z, torch.zeros(len(z), dtype=torch.int64, device=z.device))


def conditional_gaussian_entropy_bound(z: Samples, y: SampleLabels) -> Bound:
    """Σ_y p(y) ½ ln det(2πe Cov[Z|y]) ≥ H[Z|Y]; ∞ where a class has fewer samples than dimensions, −∞ where the
    samples of a class lie in fewer dimensions than they have."""
    return _mean_log_loss(z, y, with_label=False)


def joint_gaussian_entropy_bound(z: Samples, y: SampleLabels) -> Bound:
    """H[Y] + Σ_y p(y) ½ ln det(2πe Cov[Z|y]) ≥ H[Z, Y] ≥ H[Z]: tighter than one Gaussian where classes lie apart."""
    return _mean_log_loss(z, y, with_label=True)


def label_entropy(y: SampleLabels) -> float:
    """H[Y] of the labels' shares."""
    shares = torch.bincount(y).double() / len(y)
    return float(-torch.special.xlogy(shares, shares).sum())


def lies_in_fewer_dimensions(z: Samples) -> bool:
    """Whether, up to the rounding of their numbers, the samples lie in fewer dimensions than they could fill."""
    count, dims = z.shape
    largest = z.abs().amax(dim=0).double()
    scaled = z.double() / torch.where(largest > 0, largest, 1.0)
    triangle = torch.linalg.qr(scaled - scaled.mean(dim=0), mode="r").R
    values = torch.linalg.svdvals(triangle)
    rounding = 8 * torch.finfo(z.dtype).eps * (math.sqrt(count) + math.sqrt(dims))
    return int((values > rounding).sum()) < min(count - 1, dims)


def _mean_log_loss(z: Samples, y: SampleLabels, *, with_label: bool) -> Bound:
    """A Gaussian bound is the mean of −ln q(z|y) over the samples that the Gaussians q were fitted to, less what the
    fit gains; the standard error of that mean is the bound's, to first order whatever the law of the samples.

    Of Gaussian samples the error is known exactly, and it is never taken to be smaller than that.
    """
    count, dims = z.shape
    nats, variance = 0.0, 0.0
    bounds, losses = [], []
    for share, z_class in classes(z, y, at_least=1):
        bound, distances = _one_gaussian(z_class)
        bounds.append(bound)
        if not math.isfinite(bound.nats):
            continue
        label = -math.log(share) if with_label else 0.0
        nats += share * (bound.nats + label)
        variance += share**2 * bound.error**2
        # Distances from the mean that was fitted to the same samples spread less than those from the true one.
        spread = 1 / math.sqrt(1 - dims / len(z_class))
        losses.append(label + bound.nats + (distances - distances.mean()) * spread / 2)
    if NO_DENSITY in bounds:
        return NO_DENSITY
    if NO_UPPER in bounds:
        return NO_UPPER
    observed = float(torch.cat(losses).std()) / math.sqrt(count)
    return Bound(nats, max(observed, math.sqrt(variance)))


def _one_gaussian(z: Samples) -> tuple[Bound, Float[Tensor, " samples"]]:
    """The bound of one class with the error that it has for Gaussian samples, and the squared Mahalanobis distances."""
    count, dims = z.shape
    none = torch.zeros(count, dtype=torch.float64, device=z.device)
    if count > 1 and lies_in_fewer_dimensions(z):
        return NO_DENSITY, none
    if count <= dims:
        return NO_UPPER, none
    centred = z.double() - z.double().mean(dim=0)
    root, failed = torch.linalg.cholesky_ex(centred.T @ centred / (count - 1))
    if int(failed):
        return NO_DENSITY, none
    nats = 0.5 * (dims * LN_2PIE + 2 * float(root.diagonal().log().sum()) - _log_determinant_bias(count, dims))
    error = 0.5 * math.sqrt(sum(_trigamma((count - 1 - i) / 2) for i in range(dims)))
    distances = torch.linalg.solve_triangular(root, centred.T, upper=False).square().sum(dim=0)
    return Bound(nats, error), distances


def _log_determinant_bias(count: int, dims: int) -> float:
    """E ln det S − ln det Σ of a Gaussian's sample covariance S."""
    freedom = count - 1
    return sum(digamma((freedom - i) / 2) for i in range(dims)) + dims * math.log(2 / freedom)


def _trigamma(value: float) -> float:
    """ψ′(value); the sum of ψ′((N − 1 − i)/2) over dimensions i is the variance of ln det S."""
    return float(torch.special.polygamma(1, torch.tensor(value, dtype=torch.float64)))
