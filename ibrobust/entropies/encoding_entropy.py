"""H[Z], H[Z|Y] and H[Z|X] of a model's encoding, with bias and bounds, in nats."""

import math

from ibrobust.entropies.bounds import LN_2PIE, NO_UPPER, NOTHING, Bound
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
    floor = noise_entropy(model, encoding)
    low, high = preserved_information_bounds(encoding) if has_known_density(model) else (NOTHING, NO_UPPER)
    return calibrated_entropy(encoding.z, y, k=k, norm=norm, **_from(floor, low, high), repeats=repeats, seed=seed)


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
    floor = noise_entropy(model, encoding)
    low, high = redundant_information_bounds(encoding, y) if has_known_density(model) else (NOTHING, NO_UPPER)
    return calibrated_conditional_entropy(
        encoding.z, y, k=k, norm=norm, **_from(floor, low, high), repeats=repeats, seed=seed
    )


def noise_entropy(model: Bottleneck, encoding: Encoding) -> float:
    """H of the latent's own noise: H[Z|X] where there is no other, a lower bound of it with dropout; −∞ without."""
    if model.noise_std is None:
        return float((0.5 * LN_2PIE + encoding.std.double().log()).sum(dim=1).mean())
    if model.noise_std == 0:
        return -math.inf
    return encoding.z.shape[1] * (0.5 * LN_2PIE + math.log(model.noise_std))


def has_known_density(model: Bottleneck) -> bool:
    """Whether p(z|x) is a Gaussian that the encoder tells: dropout makes it a mixture over masks."""
    return model.noise_std != 0 and not model.noisy_layers


def _from(floor: float, low: Bound, high: Bound) -> dict[str, float]:
    """The bounds of I[X;Z], which is never negative, as bounds of H[Z] = H[Z|X] + I[X;Z]."""
    upper = high.upper if floor > -math.inf else math.inf
    return {"low": floor + max(0.0, low.lower), "high": floor + upper if math.isfinite(upper) else math.inf}
