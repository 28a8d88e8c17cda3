"""H[Z], H[Z|Y] and H[Z|X] of a model's encoding, with bias and bounds, in nats."""

import math

from ibrobust.entropies.bounds import NO_UPPER, NOTHING, Bound
from ibrobust.entropies.calibration import EntropyEstimate, calibrated_conditional_entropy, calibrated_entropy
from ibrobust.entropies.encoder_bounds import preserved_information_bounds, redundant_information_bounds
from ibrobust.models.bottleneck import Bottleneck, Encoding
from ibrobust.types import Labels


def encoding_entropy(
    model: Bottleneck,
    encoding: Encoding,
    y: Labels,
    *,
    k: int = 3,
    norm: str = "l2",
    repeats: int = 4,
    seed: int = 0,
) -> EntropyEstimate:
    """H[Z] by nearest neighbours; where the encoder's density is known, between bounds from it.

    Args:
        encoding: of many inputs, one latent sample each.
        repeats: sets of Gaussian samples that the bias is measured on.

    Raises:
        BadInput: as `entropy.knn_entropy`.
    """
    known = has_known_density(model)
    information = preserved_information_bounds(encoding, model.noise) if known else (NOTHING, NO_UPPER)
    bounds = _from(noise_entropy(model, encoding), *information)
    return calibrated_entropy(encoding.z, y, k=k, norm=norm, bounds=bounds, repeats=repeats, seed=seed)


def reverse_decoder_uncertainty(
    model: Bottleneck,
    encoding: Encoding,
    y: Labels,
    *,
    k: int = 3,
    norm: str = "l2",
    repeats: int = 4,
    seed: int = 0,
) -> EntropyEstimate:
    """H[Z|Y], as `encoding_entropy`.

    Raises:
        BadInput: as `entropy.conditional_knn_entropy`.
    """
    known = has_known_density(model)
    information = redundant_information_bounds(encoding, y, model.noise) if known else (NOTHING, NO_UPPER)
    bounds = _from(noise_entropy(model, encoding), *information)
    return calibrated_conditional_entropy(encoding.z, y, k=k, norm=norm, bounds=bounds, repeats=repeats, seed=seed)


def noise_entropy(model: Bottleneck, encoding: Encoding) -> float | None:
    """H of the latent's own noise: H[Z|X] where there is no other, a lower bound of it with dropout; −∞ without noise,
    None where the entropy of its law is not known."""
    return model.noise.entropy(encoding.std)


def has_known_density(model: Bottleneck) -> bool:
    """Whether p(z|x) is a density that the encoder tells: dropout makes it a mixture over masks."""
    noise = model.noise
    known = noise.law.log_density is not None and noise.law.entropy is not None
    return known and not noise.absent and not model.noisy_layers


def _from(noise_entropy: float | None, low: Bound, high: Bound) -> tuple[float, float]:
    """The bounds of I[X;Z], which is never negative, as bounds of H[Z] = H[Z|X] + I[X;Z]."""
    if noise_entropy is None or noise_entropy == -math.inf:
        return -math.inf, math.inf
    return noise_entropy + max(0.0, low.lower), noise_entropy + high.upper
