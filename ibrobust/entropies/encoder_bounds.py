"""Bounds on the preserved information that need no density estimate, because the encoder's own p(z|x) is known."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.entropies.bounds import NO_UPPER, Bound
from ibrobust.entropies.entropy import classes
from ibrobust.models.bottleneck import Encoding
from ibrobust.models.noise import ZERO_ENTROPY, LatentNoise

_BLOCK = 1024


def preserved_information_bounds(encoding: Encoding, noise: LatentNoise = ZERO_ENTROPY) -> tuple[Bound, Bound]:
    """Lower and upper bound of I[X;Z] where the density p(z|x) is known, nats, from one latent sample per input (Poole
    et al. 2019).

    With p_ij = p(z_i|x_j) the lower bound is the mean of ln p_ii / mean_j p_ij (their eq. 12 with the encoder's density
    as critic), which cannot exceed ln N; the upper bound leaves i out of the mean (their eq. 13). Both hold in
    expectation over the samples, and carry the standard error of what was drawn. They meet where the latent is noisy,
    and lie far apart where every input has a region of its own.

    Args:
        noise: whose law p(z|x) has; Gaussian by default. The standard deviations are the encoding's.

    Raises:
        BadInput: the law's density is not known.
    """
    count = len(encoding.z)
    lower, upper = _Ratios(count, encoding.z.device), _Ratios(count, encoding.z.device)
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        log_density = noise.log_densities(encoding.z[rows], encoding.mean, encoding.std)
        own = log_density.diagonal(start).clone()
        lower.add(rows, own, log_density, math.log(count))
        if count > 1:
            log_density.diagonal(start).fill_(-math.inf)
            upper.add(rows, own, log_density, math.log(count - 1))
    return lower.bound(), upper.bound() if count > 1 else NO_UPPER


def redundant_information_bounds(
    encoding: Encoding, y: Int[Tensor, " batch"], noise: LatentNoise = ZERO_ENTROPY
) -> tuple[Bound, Bound]:
    """Lower and upper bound of I[X;Z|Y] = Σ_y p(y) I[X;Z|y], nats: the same within each class.

    Raises:
        BadInput: as `preserved_information_bounds`.
    """
    index = torch.arange(len(y), device=y.device)[:, None].double()
    parts = []
    for share, members in classes(index, y, at_least=1):
        kept = members.squeeze(1).long()
        parts.append((share, preserved_information_bounds(Encoding(*(tensor[kept] for tensor in encoding)), noise)))
    lower, upper = (
        Bound(sum(share * b[i].nats for share, b in parts), math.hypot(*(share * b[i].error for share, b in parts)))
        for i in (0, 1)
    )
    return lower, upper


class _Ratios:
    """The mean over i of ln p_ii / mean_j p_ij, and its standard error.

    A sample takes part twice: with its own term, and with a share of the other terms' means, p_ij / Σ_k p_ik summed
    over i, whose average is 1. The mean moves by the difference of the two (Hájek's projection).
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self.terms = torch.zeros(count, dtype=torch.float64, device=device)
        self.shares = torch.zeros(count, dtype=torch.float64, device=device)

    def add(
        self,
        rows: slice,
        own: Float[Tensor, " rows"],
        log_density: Float[Tensor, "rows batch"],
        log_count: float,
    ) -> None:
        log_sum = log_density.logsumexp(dim=1)
        self.terms[rows] = own - log_sum + log_count
        self.shares += (log_density - log_sum[:, None]).exp().sum(dim=0)

    def bound(self) -> Bound:
        count = len(self.terms)
        if not bool(self.terms.isfinite().all()):  # a sample that no other input could have given
            return NO_UPPER
        error = float((self.terms - self.shares).std()) / math.sqrt(count) if count > 1 else 0.0
        return Bound(float(self.terms.mean()), error)
