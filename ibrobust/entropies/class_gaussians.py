"""Gaussians of one covariance around the means of classes: the law whose entropy an estimator is checked on."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.randomness import Draw

_DRAWN_AT_A_TIME = 2**20
"""Normal numbers drawn at once; it changes memory, not the numbers."""


@dataclass(frozen=True)
class ClassGaussians:
    """p(z) = Σ_c share_c N(z; mean_c, LLᵀ), all float64.

    Attributes:
        means: one row per class.
        log_shares: −∞ for a class that does not occur.
        root: the lower triangular L.
    """

    means: Float[Tensor, "classes dims"]
    log_shares: Float[Tensor, " classes"]
    root: Float[Tensor, "dims dims"]

    def sample(self, y: Int[Tensor, " samples"], draw: Draw) -> Float[Tensor, "samples dims"]:
        """One sample of each label's Gaussian."""
        dims = len(self.root)
        rows = max(1, _DRAWN_AT_A_TIME // dims)
        parts = [draw[start : start + rows].normal(dims).double() @ self.root.T for start in range(0, len(draw), rows)]
        return self.means[y] + torch.cat(parts)

    def log_density(self, z: Float[Tensor, "samples dims"]) -> Float[Tensor, " samples"]:
        """ln p(z)."""
        to_means = torch.cdist(
            self._whitened(z), self._whitened(self.means), compute_mode="donot_use_mm_for_euclid_dist"
        )
        return (self.log_shares - to_means.square() / 2).logsumexp(dim=1) + self._log_peak()

    def log_density_given_class(
        self, z: Float[Tensor, "samples dims"], y: Int[Tensor, " samples"]
    ) -> Float[Tensor, " samples"]:
        """ln p(z|y)."""
        return self._log_peak() - self._whitened(z - self.means[y]).square().sum(dim=1) / 2

    def _whitened(self, z: Float[Tensor, "rows dims"]) -> Float[Tensor, "rows dims"]:
        whitened: Tensor = torch.linalg.solve_triangular(self.root, z.T, upper=False)
        return whitened.T

    def _log_peak(self) -> Float[Tensor, ""]:
        return -(self.root.diagonal().log().sum() + len(self.root) / 2 * math.log(2 * math.pi))


def fitted_class_gaussians(z: Float[Tensor, "samples dims"], y: Int[Tensor, " samples"]) -> ClassGaussians | None:
    """The classes' means and the covariance within them; None where there are too few samples for a covariance."""
    z = z.double()
    counts = torch.bincount(y).double()
    dims = z.shape[1]
    freedom = len(z) - int((counts > 0).sum())
    if freedom <= dims:
        return None
    sums = torch.zeros(len(counts), dims, dtype=z.dtype, device=z.device).index_add_(0, y, z)
    means = sums / counts[:, None].clamp(min=1)
    deviations = z - means[y]
    root, failed = torch.linalg.cholesky_ex(deviations.T @ deviations / freedom)
    return None if int(failed) else ClassGaussians(means, (counts / len(z)).log(), root)
