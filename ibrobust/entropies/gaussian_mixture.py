"""Mixtures of Gaussians fitted to what an encoder does: its means, with the known covariance of its noise added.

Any density gives an upper bound of an entropy, the cross-entropy on samples that it was not fitted to. A mixture whose
components add the noise exactly comes close where a single Gaussian does not: on latents that lie along a surface of
few dimensions, or in clusters of different scales.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.randomness import Draw

DIMENSIONS = 32
"""Principal directions of the means in which components differ; in the others all share one variance per direction."""
_LLOYD, _EM = 8, 3
_NUMBERS = 2**23
"""Numbers held at once; it changes memory, not the answer to more than rounding."""
_SHRUNK = 0.25
"""Weight of the covariance that components of a class share, in samples per dimension."""

Components = Int[Tensor, " components"]


class Means(NamedTuple):
    """Where an encoder puts inputs, and how wide its noise is there."""

    mean: Float[Tensor, "inputs dims"]
    variance: Float[Tensor, "inputs dims"]
    y: Int[Tensor, " inputs"]

    def rows(self, kept: Tensor | slice) -> "Means":
        return Means(self.mean[kept], self.variance[kept], self.y[kept])


@dataclass(frozen=True)
class MixtureLaw:
    """p(z) = Σ_c share_c N(z; mean_c, L_c L_cᵀ) in the leading directions of a basis, times independent Gaussians in
    the others; float64.

    Attributes:
        centre, basis: z is looked at as (z − centre) @ basis.
        log_shares, means, roots: of the components; roots are the lower triangular L_c.
        classes: the label that each component belongs to.
        rest: standard deviations in the directions that are left.
    """

    centre: Float[Tensor, " dims"]
    basis: Float[Tensor, "dims dims"]
    log_shares: Float[Tensor, " components"]
    means: Float[Tensor, "components leading"]
    roots: Float[Tensor, "components leading leading"]
    classes: Components
    rest: Float[Tensor, " others"]

    def log_density(self, z: Float[Tensor, "samples dims"]) -> Float[Tensor, " samples"]:
        """ln p(z)."""
        return self._summed(z, None)

    def log_density_given_class(
        self, z: Float[Tensor, "samples dims"], y: Int[Tensor, " samples"]
    ) -> Float[Tensor, " samples"]:
        """ln p(z|y); −∞ for a class that the mixture was not fitted to."""
        return self._summed(z, y) - _log_shares_of_classes(self, y)

    def sample(self, y: Int[Tensor, " samples"], draw: Draw) -> Float[Tensor, "samples dims"]:
        """One sample of each label's components; labels that the mixture does not know are drawn from all."""
        own = self.classes[None] == y[:, None]
        chances = torch.where(own | ~own.any(dim=1, keepdim=True), self.log_shares, -math.inf).softmax(dim=1)
        # One uniform number chooses the component; the last one where rounding leaves the sum below it.
        passed = chances.cumsum(dim=1) <= draw.fold("component").uniform(1).double()
        chosen = passed.sum(dim=1).clamp(max=len(self.means) - 1)
        numbers = draw.fold("mixture").normal(len(self.basis)).double()
        size = max(1, _NUMBERS // self.roots[0].numel())
        leading = self.means.shape[1]
        parts = [
            torch.bmm(self.roots[part], inner[:, :, None]).squeeze(2)
            for part, inner in zip(torch.split(chosen, size), torch.split(numbers[:, :leading], size), strict=True)
        ]
        coordinates = torch.cat([self.means[chosen] + torch.cat(parts), self.rest * numbers[:, leading:]], dim=1)
        return coordinates @ self.basis.T + self.centre

    def _summed(self, z: Tensor, y: Tensor | None) -> Tensor:
        coordinates = (z.double() - self.centre) @ self.basis
        leading = self.means.shape[1]
        inner, outer = coordinates[:, :leading], coordinates[:, leading:]
        apart = -(outer / self.rest).square().sum(dim=1) / 2 - self.rest.log().sum()
        logs = self.log_shares + _log_normal(inner, self.means, self.roots)
        if y is not None:
            logs = torch.where(self.classes[None] == y[:, None], logs, -math.inf)
        return logs.logsumexp(dim=1) + apart - len(self.basis) / 2 * math.log(2 * math.pi)


def fitted_mixture(means: Means, components: int, *, seed: int = 0) -> MixtureLaw:
    """The mixture with this many components in each class, or one for every eight inputs where that is less.

    k-means on the encoder's means, then steps of expectation and maximisation in which the noise is no sample but its
    known covariance.
    """
    means = Means(means.mean.double(), means.variance.double(), means.y)
    centre, basis, leading = _directions(means)
    rotated = (means.mean - centre) @ basis
    outer = basis[:, leading:]
    rest = (rotated[:, leading:].square().mean(dim=0) + means.variance.mean(dim=0) @ outer.square()).sqrt()
    parts = []
    for label in torch.bincount(means.y).nonzero().flatten().tolist():
        members = (means.y == label).nonzero().flatten()
        fitted = _class_components(
            rotated[members, :leading], means.variance[members], basis[:, :leading], components, seed=seed
        )
        share = math.log(len(members) / len(means.y))
        parts.append((fitted[0] + share, fitted[1], fitted[2], torch.full_like(fitted[0], label, dtype=torch.int64)))
    log_shares, centres, roots, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return MixtureLaw(centre, basis, log_shares, centres, roots, labels, rest)


def _directions(means: Means) -> tuple[Tensor, Tensor, int]:
    """Centre, orthogonal basis with the means' principal directions first, and how many of them lead."""
    centre = means.mean.mean(dim=0)
    dims = means.mean.shape[1]
    if dims <= DIMENSIONS:
        return centre, torch.eye(dims, dtype=torch.float64, device=centre.device), dims
    centred = means.mean - centre
    basis = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)
    return centre, basis, DIMENSIONS


def _class_components(
    x: Float[Tensor, "inputs leading"],
    variance: Float[Tensor, "inputs dims"],
    basis: Float[Tensor, "dims leading"],
    components: int,
    *,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log shares, means and covariance roots of one class's components."""
    count = max(1, min(components, len(x) // 8))
    weights = torch.nn.functional.one_hot(_clusters(x, count, seed), count).double()
    shares, centres, roots = _maximised(x, variance, basis, weights)
    for _ in range(_EM if count > 1 else 0):
        logs = shares + _log_normal(x, centres, roots) - _noise_in(variance, basis, roots) / 2
        shares, centres, roots = _maximised(x, variance, basis, logs.softmax(dim=1))
    return shares, centres, roots


def _clusters(x: Float[Tensor, "inputs leading"], count: int, seed: int) -> Int[Tensor, " inputs"]:
    """Lloyd's k-means from random inputs."""
    generator = torch.Generator().manual_seed(seed)
    centres = x[torch.randperm(len(x), generator=generator)[:count].to(x.device)]
    nearest = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for _ in range(_LLOYD if count > 1 else 0):
        nearest = (centres.square().sum(dim=1) - 2 * x @ centres.T).argmin(dim=1)
        sizes = torch.bincount(nearest, minlength=count).clamp(min=1)
        centres = torch.zeros_like(centres).index_add_(0, nearest, x) / sizes[:, None]
    return nearest


def _maximised(x: Tensor, variance: Tensor, basis: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log shares, means and roots of the weighted inputs; covariances are drawn towards their common one."""
    leading = x.shape[1]
    sizes = weights.sum(dim=0).clamp(min=1e-9)
    centres = weights.T @ x / sizes[:, None]
    scatter = torch.stack(
        [((x - centre) * weight[:, None]).T @ (x - centre) for centre, weight in zip(centres, weights.T, strict=True)]
    )
    shared = scatter.sum(dim=0) / len(x)
    extra = _SHRUNK * leading if len(centres) > 1 else 0.0
    spread = (scatter + extra * shared) / (sizes + extra)[:, None, None]
    # A component that has lost its inputs has the noise of all of them.
    kept = (weights.T @ variance + 1e-3 * variance.mean(dim=0)) / (sizes + 1e-3)[:, None]
    noise = torch.einsum("kl,ck,km->clm", basis, kept, basis)
    return (sizes / len(x)).log(), centres, torch.linalg.cholesky(spread + noise)


def _log_normal(x: Tensor, centres: Tensor, roots: Tensor) -> Float[Tensor, "inputs components"]:
    """ln N(x_i; centre_c, L_c L_cᵀ) but for the factor of 2π."""
    count, leading = centres.shape
    whitening = torch.linalg.solve_triangular(roots, torch.eye(leading, dtype=x.dtype, device=x.device), upper=False)
    moved = (whitening @ centres[:, :, None]).reshape(1, -1)
    flat = whitening.reshape(count * leading, leading).T
    size = max(1, _NUMBERS // (count * leading))
    squares = [(part @ flat - moved).square().reshape(-1, count, leading).sum(dim=2) for part in torch.split(x, size)]
    return -torch.cat(squares) / 2 - roots.diagonal(dim1=1, dim2=2).log().sum(dim=1)


def _noise_in(variance: Tensor, basis: Tensor, roots: Tensor) -> Float[Tensor, "inputs components"]:
    """tr(Σ_c⁻¹ V_i): what the noise of input i adds, on average, to the squared distance from component c."""
    leading = basis.shape[1]
    whitening = torch.linalg.solve_triangular(
        roots, torch.eye(leading, dtype=roots.dtype, device=roots.device), upper=False
    )
    squares: Tensor = (whitening @ basis.T).square().sum(dim=1)
    return variance @ squares.T


def _log_shares_of_classes(law: MixtureLaw, y: Int[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    own = torch.where(law.classes[None] == y[:, None], law.log_shares, -math.inf)
    return own.logsumexp(dim=1)
