"""H[Z], H[Z|Y] and H[Z|X] of a model's encoding, with bias and bounds, in nats."""

import math
from typing import NamedTuple

import torch

from ibrobust.entropies.bounds import Bound
from ibrobust.entropies.calibration import (
    THREE_NEIGHBOURS,
    EntropyEstimate,
    Neighbours,
    conditional_entropy_estimate,
    entropy_estimate,
)
from ibrobust.entropies.encoder_bounds import preserved_information_bounds, redundant_information_bounds
from ibrobust.entropies.mixture_bounds import InformationBounds, Labelled, information_bounds
from ibrobust.models.bottleneck import Bottleneck, Encoding
from ibrobust.models.noise import LatentNoise
from ibrobust.types import Labels


class Known(NamedTuple):
    """What the encoder itself tells about its latent, measured once for H[Z] and H[Z|Y].

    Attributes:
        floor: H[Z|X], or what is known of it, with the error of an average over inputs; −∞ where nothing is.
        information: bounds of I[X;Z] and I[X;Z|Y], and a mixture that is like the latent.
    """

    floor: Bound
    information: InformationBounds


def known_of(model: Bottleneck, encoding: Encoding, y: Labels, more: Labelled | None = None, *, seed: int = 0) -> Known:
    """The bounds that the encoder's density gives; none where it is not known.

    Args:
        encoding: of many inputs, one latent sample each.
        more: further inputs from where those are from: the more there are, the closer the bounds.
    """
    floor = noise_entropy(model, encoding)
    known = has_known_density(model)
    information = _information(model.noise, Labelled(encoding, y), more, seed) if known else None
    error = _error_of_floor(model, encoding) if floor is not None else 0.0
    return Known(Bound(-math.inf if floor is None else floor, error), information or InformationBounds())


def _information(noise: LatentNoise, samples: Labelled, more: Labelled | None, seed: int) -> InformationBounds:
    """The closest bounds: of no further inputs than the samples a fitted mixture leaves half for the averages, and
    the plain bounds use all of them."""
    found = information_bounds(samples, noise, more, seed=seed)
    if more is not None:
        return found
    plain = preserved_information_bounds(samples.encoding, noise)
    within = redundant_information_bounds(samples.encoding, samples.y, noise)
    return InformationBounds(_closest(found.preserved, plain), _closest(found.redundant, within), found.law)


def _closest(*pairs: tuple[Bound, Bound]) -> tuple[Bound, Bound]:
    lower, upper = zip(*pairs, strict=True)
    return max(lower, key=lambda bound: bound.lower), min(upper, key=lambda bound: bound.upper)


def encoding_entropy(
    model: Bottleneck,
    encoding: Encoding,
    y: Labels,
    how: Neighbours = THREE_NEIGHBOURS,
    *,
    known: Known | None = None,
) -> EntropyEstimate:
    """H[Z] by nearest neighbours; where the encoder's density is known, between bounds from it, and with its bias on
    samples of a mixture of Gaussians that is fitted to the encoder's means and noise.

    Args:
        encoding: of many inputs, one latent sample each.
        how: see `Neighbours`.
        known: what `known_of` says, where that is known already.

    Raises:
        BadInput: as `entropy.knn_entropy`.
    """
    known = known or known_of(model, encoding, y, seed=how.seed)
    bounds, law = _from(known.floor, *known.information.preserved), known.information.law
    return entropy_estimate(encoding.z, y, how, bounds=bounds, law=law)


def reverse_decoder_uncertainty(
    model: Bottleneck,
    encoding: Encoding,
    y: Labels,
    how: Neighbours = THREE_NEIGHBOURS,
    *,
    known: Known | None = None,
) -> EntropyEstimate:
    """H[Z|Y], as `encoding_entropy`.

    Raises:
        BadInput: as `entropy.conditional_knn_entropy`.
    """
    known = known or known_of(model, encoding, y, seed=how.seed)
    bounds, law = _from(known.floor, *known.information.redundant), known.information.law
    return conditional_entropy_estimate(encoding.z, y, how, bounds=bounds, law=law)


def noise_entropy(model: Bottleneck, encoding: Encoding) -> float | None:
    """H of the latent's own noise: H[Z|X] where there is no other, a lower bound of it with dropout; −∞ without noise,
    None where the entropy of its law is not known."""
    return model.noise.entropy(encoding.std)


def has_known_density(model: Bottleneck) -> bool:
    """Whether p(z|x) is a density that the encoder tells: dropout makes it a mixture over masks."""
    noise = model.noise
    known = noise.law.log_density is not None and noise.law.entropy is not None
    return known and not noise.absent and not model.noisy_layers


def _error_of_floor(model: Bottleneck, encoding: Encoding) -> float:
    """Standard error of the mean of H[Z|x] over inputs: 0 unless the noise is learned."""
    if model.noise.std is not None or len(encoding.std) < 2:
        return 0.0
    per_input = torch.log(encoding.std.double()).sum(dim=1)
    return float(per_input.std()) / math.sqrt(len(per_input))


def _from(floor: Bound, low: Bound, high: Bound) -> tuple[float, float]:
    """The bounds of I[X;Z], which is never negative, as bounds of H[Z] = H[Z|X] + I[X;Z]; errors add up at worst."""
    if floor.nats == -math.inf:
        return -math.inf, math.inf
    return floor.lower + max(0.0, low.lower), floor.upper + high.upper
