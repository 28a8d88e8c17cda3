"""Nearest-neighbour entropy and mutual information of samples, in nats.

Distances are exact: float32 matrix products propose more neighbours than are needed, the proposed ones are measured
again in float64 from the differences, and a row whose answer the rounding of the products could have changed is
measured in full. So the result does not depend on threads, blocks or the device, and no N × N table is ever held.

Nothing is clamped and no jitter is added. The estimates are biased in high dimension (+16 % at N = 5000 in 256
dimensions): `ibrobust.entropies.calibration` says by how much.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.errors import BadInput
from ibrobust.randomness import sample_draw
from ibrobust.registry import Registry, extension_point

Samples = Float[Tensor, "samples dims"]
Distances = Float[Tensor, "rows neighbours"]

_BLOCK = 512
"""Rows whose distances are held at once: memory is 512 × N float32."""
_SPARE = 6
"""Neighbours proposed beyond the k-th, so that rounding seldom decides."""


@dataclass(frozen=True)
class Distance:
    """A norm that nearest neighbours are measured in.

    Attributes:
        log_unit_ball: number of dimensions → log volume of the ball of radius 1: the distance to the neighbour goes
            with it, not twice that.
        neighbours: (samples, k) → distances of each sample to its 1st … k-th nearest other samples.
    """

    log_unit_ball: Callable[[int], float]
    neighbours: Callable[[Samples, int], Distances]


DISTANCES: Registry[Distance] = extension_point("distance", Distance)


def knn_entropy(z: Samples, k: int = 3, norm: str = "l2") -> float:
    """Kozachenko-Leonenko estimate of the differential entropy (Kraskov et al. 2004, eq. 20), nats.

    Ĥ = ψ(N) − ψ(k) + ln c_d + (d/N) Σ ln ε_i with ε_i the distance to the k-th neighbour and c_d the volume of the
    unit ball. Biased upwards in high dimension, the more the larger k.

    Raises:
        BadInput: not rows of numbers, fewer than k + 1 samples, values that are not finite, or samples that coincide.
    """
    return knn_entropies(z, [k], norm)[k]


def knn_entropies(z: Samples, ks: Sequence[int], norm: str = "l2") -> dict[int, float]:
    """`knn_entropy` for several k from one search.

    Raises:
        BadInput: as `knn_entropy`.
    """
    log_distance_K = neighbour_distances(z, max(ks), norm).log().mean(dim=0)
    count, dims = z.shape
    log_volume = DISTANCES[norm].log_unit_ball(dims)
    return {k: digamma(count) - digamma(k) + log_volume + dims * float(log_distance_K[k - 1]) for k in ks}


def conditional_knn_entropy(z: Samples, y: Int[Tensor, " samples"], k: int = 3, norm: str = "l2") -> float:
    """H[Z|Y] = Σ_y p(y) H[Z|y] with `knn_entropy` within each class and p(y) its share of the samples, nats.

    Raises:
        BadInput: as `knn_entropy`; the message names the class.
    """
    return sum(share * knn_entropies(z_class, [k], norm)[k] for share, z_class in classes(z, y, at_least=k + 1))


def classes(
    z: Samples, y: Int[Tensor, " samples"], *, at_least: int
) -> list[tuple[float, Float[Tensor, "members dims"]]]:
    """(share, samples) of each class that occurs.

    Raises:
        BadInput: a class holds fewer than `at_least` samples.
    """
    counts = torch.bincount(y)
    for label, count in enumerate(counts.tolist()):
        if 0 < count < at_least:
            raise BadInput(f"class {label} holds {count} samples; its entropy needs {at_least} or more")
    return [(int(counts[label]) / len(y), z[y == label]) for label in counts.nonzero().flatten()]


def ksg_mutual_information(x: Samples, y: Float[Tensor, "pairs other_dims"], k: int = 3) -> float:
    """I[X;Y] by Kraskov et al. 2004, eq. 8, in the max norm, nats: for a handful of dimensions.

    Errors of the marginals cancel, which is why it is more exact than H[X] + H[Y] − H[X,Y]. May fall below 0. A side
    that is constant says nothing about the other: exactly 0.

    Warns:
        UserWarning: on Gaussians with the covariance of these samples, whose information is known, the same estimator
            is off by more than a tenth and a tenth of a nat.

    Raises:
        BadInput: as `knn_entropy`, for the joint samples.
    """
    for name, samples in (("x", x), ("y", y)):
        _require_rows(samples, name)
    if len(x) != len(y):
        raise BadInput(f"x holds {len(x)} samples and y {len(y)}; they come in pairs")
    x, y = _varying(x.double()), _varying(y.double())
    if not (x.shape[1] and y.shape[1]):
        return 0.0
    found = _ksg(x, y, k)
    said = _error_on_gaussians(x, y, k)
    if said:
        warnings.warn(f"mutual information {found:.4g} (k = {k}, n = {len(x)}): {said}", stacklevel=2)
    return found


def _ksg(x: Samples, y: Float[Tensor, "pairs other_dims"], k: int) -> float:
    radius = neighbour_distances(torch.cat([x, y], dim=1), k, "max")[:, -1]
    marginals = [torch.digamma(_closer_than(samples, radius) + 1.0).mean() for samples in (x, y)]
    return digamma(k) + digamma(len(x)) - float(marginals[0] + marginals[1])


def _varying(samples: Samples) -> Float[Tensor, "samples kept"]:
    """The dimensions that are not constant."""
    return samples[:, (samples != samples[:1]).any(dim=0)]


def _error_on_gaussians(x: Samples, y: Float[Tensor, "pairs other_dims"], k: int) -> str | None:
    """What is wrong with the estimator on Gaussians of the same covariance, −½ ln det of whose correlations beside
    those within x and within y is their information; None where nothing is."""
    both = torch.cat([x, y], dim=1)
    correlation = torch.corrcoef(both.T)
    dims = x.shape[1]
    root, failed = torch.linalg.cholesky_ex(correlation)
    if int(failed):
        return "the samples lie in fewer dimensions than they have, or are too few: the information may be infinite"
    parts = (correlation, correlation[:dims, :dims], correlation[dims:, dims:])
    joint, *marginals = (float(torch.linalg.slogdet(part).logabsdet) for part in parts)
    truth = (sum(marginals) - joint) / 2
    draw = sample_draw(0, torch.arange(len(x), device=x.device)).fold("mutual information")
    gaussian = draw.normal(both.shape[1]).double() @ root.T
    found = _ksg(gaussian[:, :dims], gaussian[:, dims:], k)
    # A finite sample says truth ± its own error even where the estimator is right.
    error = 3 * math.sqrt(min(dims, both.shape[1] - dims) / len(x))
    if abs(found - truth) <= 0.1 + 0.1 * truth + error:
        return None
    return f"on Gaussians of the same covariance, whose information is {truth:.4g}, the estimator says {found:.4g}"


def _require_rows(samples: Tensor, name: str) -> None:
    if samples.ndim != 2:
        raise BadInput(f"{name} has shape {tuple(samples.shape)}; samples × dimensions is needed, as {name}[:, None]")


def digamma(value: int | float) -> float:
    """ψ(value)."""
    return float(torch.special.digamma(torch.tensor(value, dtype=torch.float64)))


def neighbour_distances(z: Samples, k: int, norm: str = "l2") -> Distances:
    """Distances of each sample to its 1st … k-th nearest other samples, float64, on the device of z.

    Raises:
        BadInput: as `knn_entropy`.
    """
    _require_rows(z, "z")
    if k < 1 or len(z) <= k:
        raise BadInput(f"k = {k} with {len(z)} samples; k is at least 1 and at most one less than the samples")
    if not bool(z.isfinite().all()):
        raise BadInput(f"{int((~z.isfinite()).any(dim=1).sum())} of {len(z)} samples are not finite")
    # A power of two: squares neither overflow nor vanish, and no bit of a distance changes.
    largest = float(torch.linalg.vector_norm(z, math.inf))
    unit = 2.0 ** math.floor(math.log2(max(largest, torch.finfo(torch.float64).tiny)))
    distances = DISTANCES[norm].neighbours(z.double() / unit, k) * unit
    coincide = int((distances[:, 0] == 0).sum())
    if coincide:
        raise BadInput(
            f"{coincide} of {len(z)} samples coincide with another: their differential entropy is not finite; "
            "add noise of a density (zero-entropy noise is N(0, 1/(2πe)) per dimension) or drop the copies"
        )
    return distances


def _euclidean(z: Samples, k: int) -> Distances:
    # Where a user let float32 products round to fewer bits, float64 proposes.
    exact = torch.get_float32_matmul_precision() == "highest"
    centred = (z - z.mean(dim=0)).to(torch.float32 if exact else torch.float64)
    squares = torch.cat([part.double().square().sum(dim=1) for part in torch.split(centred, _BLOCK)])
    buffer = centred.new_empty(min(_BLOCK, len(z)), len(z))
    blocks = _row_blocks(len(z), z.device)
    return torch.cat([_euclidean_block(z, centred, squares, rows, k=k, buffer=buffer) for rows in blocks])


def _euclidean_block(
    z: Samples, centred: Samples, squares: Tensor, rows: Int[Tensor, " rows"], *, k: int, buffer: Tensor
) -> Distances:
    """Distances of some rows; the first rows of `buffer` (block × samples) are overwritten."""
    # |b|² − 2ab: |a|² is the same for the whole row and changes no order.
    ranks = torch.addmm(squares.to(centred.dtype), centred[rows], centred.T, alpha=-2, out=buffer[: len(rows)])
    ranks[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    proposed, candidates = ranks.topk(min(k + _SPARE, len(z) - 1), largest=False)
    measured = z[candidates].sub_(z[rows, None]).square_().sum(dim=2)
    distances = measured.topk(k, largest=False, sorted=True).values.sqrt()
    if candidates.shape[1] < len(z) - 1:
        unsure = ~_certain(distances[:, -1], proposed[:, -1], squares[rows], z.shape[1])
        distances[unsure] = _measured_in_full(z, rows[unsure], k)
    return distances


def _certain(
    distance: Float[Tensor, " rows"], proposed: Float[Tensor, " rows"], square: Float[Tensor, " rows"], dims: int
) -> Bool[Tensor, " rows"]:
    """Whether no sample that was not proposed can be nearer than `distance`, however the products were rounded.

    A nearer sample b has |b| ≤ |a| + distance, so its product is off by at most unit · (2|a||b| + |b|²), with unit
    growing as the root of the dimensions (Higham and Mary 2019); 8 standard deviations are allowed for.
    """
    unit = torch.finfo(proposed.dtype).eps * (4 + 8 * math.sqrt(dims)) / 2
    length = square.sqrt()
    reach = length + distance
    slack = unit * (2 * length * reach + reach.square())
    return proposed.double() + square - slack > distance.square()


def _measured_in_full(z: Samples, rows: Int[Tensor, " rows"], k: int) -> Distances:
    if not len(rows):
        return z.new_empty(0, k)
    distances = torch.cdist(z[rows], z, compute_mode="donot_use_mm_for_euclid_dist")
    return _nearest_others(distances, rows, k)


def _max_norm(z: Samples, k: int) -> Distances:
    blocks = _row_blocks(len(z), z.device)
    return torch.cat([_nearest_others(torch.cdist(z[rows], z, p=math.inf), rows, k) for rows in blocks])


def _nearest_others(distances: Float[Tensor, "rows samples"], rows: Int[Tensor, " rows"], k: int) -> Distances:
    distances[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    return distances.topk(k, largest=False, sorted=True).values


L2 = Distance(lambda dims: dims / 2 * math.log(math.pi) - math.lgamma(dims / 2 + 1), _euclidean)
MAX = Distance(lambda dims: dims * math.log(2), _max_norm)


def _closer_than(samples: Samples, radius: Float[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """How many other samples lie strictly within each sample's radius, in the max norm."""
    # The sample itself, at distance 0, is always counted, and taken off again.
    counts = [
        (torch.cdist(samples[rows], samples, p=math.inf) < radius[rows, None]).sum(dim=1) - 1
        for rows in _row_blocks(len(samples), samples.device)
    ]
    return torch.cat(counts).double()


def _row_blocks(count: int, device: torch.device) -> list[Int[Tensor, " rows"]]:
    starts = range(0, count, _BLOCK)
    return [torch.arange(start, min(start + _BLOCK, count), device=device) for start in starts]
