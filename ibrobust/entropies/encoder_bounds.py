"""Bounds on the preserved information that need no density estimate, because the encoder's own p(z|x) is known."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.entropies.entropy import classes
from ibrobust.models.bottleneck import Encoding

_BLOCK = 1024


def preserved_information_bounds(encoding: Encoding) -> tuple[float, float]:
    """Lower and upper bound of I[X;Z] for Gaussian p(z|x), nats, from one latent sample per input (Poole et al. 2019).

    With p_ij = p(z_i|x_j) the lower bound is the mean of ln p_ii / mean_j p_ij (their eq. 12 with the encoder's density
    as critic), which cannot exceed ln N; the upper bound leaves i out of the mean (their eq. 13). Both hold in
    expectation over the samples. They meet where the latent is noisy, and lie far apart where every input has a
    region of its own.
    """
    lower, upper = [], []
    count = len(encoding.z)
    precision = encoding.std.double().square().reciprocal()
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        log_density = _log_density(encoding, precision, rows)
        own = log_density.diagonal(start).clone()
        lower.append(own - log_density.logsumexp(dim=1) + math.log(count))
        log_density.diagonal(start).fill_(-math.inf)
        upper.append(own - log_density.logsumexp(dim=1) + math.log(count - 1))
    return float(torch.cat(lower).mean()), float(torch.cat(upper).mean())


def redundant_information_bounds(encoding: Encoding, y: Int[Tensor, " batch"]) -> tuple[float, float]:
    """Lower and upper bound of I[X;Z|Y] = Σ_y p(y) I[X;Z|y], nats: the same within each class.

    Raises:
        BadInput: a class has a single sample.
    """
    index = torch.arange(len(y), device=y.device)[:, None].double()
    low = high = 0.0
    for share, members in classes(index, y, at_least=2):
        kept = members.squeeze(1).long()
        bounds = preserved_information_bounds(Encoding(*(tensor[kept] for tensor in encoding)))
        low, high = low + share * bounds[0], high + share * bounds[1]
    return low, high


def _log_density(
    encoding: Encoding, precision: Float[Tensor, "batch latent"], rows: slice
) -> Float[Tensor, "rows batch"]:
    """ln p(z_i|x_j) + K/2 ln 2π, float64."""
    z, mean = encoding.z[rows].double(), encoding.mean.double()
    weighted = mean * precision
    squares = z.square() @ precision.T - 2 * z @ weighted.T + (mean * weighted).sum(dim=1)
    return (precision.log().sum(dim=1) - squares) / 2
