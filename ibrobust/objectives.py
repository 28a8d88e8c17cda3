"""What training minimises: a likelihood term + γ · a regulariser (Kirsch et al. §3, all in nats)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.bottleneck import ZERO_ENTROPY_STD, Encoding
from ibrobust.errors import BadInput
from ibrobust.recipe import Recipe
from ibrobust.registry import Registry
from ibrobust.types import Labels, Latents, Logits, Scalar

LN_2PIE = math.log(2 * math.pi * math.e)


@dataclass(frozen=True)
class Regularizer:
    """A term of the objective and the latent noise that belongs to it.

    Attributes:
        term: (encoding, labels, model) → scalar.
        noise: what the recipe's `noise = "auto"` stands for.
    """

    term: Callable[[Encoding, Labels, nn.Module], Scalar]
    noise: str = "zero-entropy"


REGULARIZERS: Registry[Regularizer] = Registry("regulariser")


def decoder_cross_entropy(logits: Logits, y: Labels) -> Scalar:
    """Mean log loss of one latent sample each: an upper bound on H[Y|Z] (eq. 8, 9)."""
    return F.cross_entropy(logits, y)


def squared_norm(z: Latents) -> Scalar:
    """E‖Z‖² of the noisy latent (eq. 14)."""
    return z.square().sum(1).mean()


def log_squared_norm(z: Latents) -> Scalar:
    """(K/2) ln((2πe/K) E‖Z‖²), the bound on H[Z] that Theorem 4 proves (§F.2)."""
    dimensions = z.shape[1]
    return dimensions / 2 * (LN_2PIE + torch.log(squared_norm(z) / dimensions))


def log_variance(z: Latents) -> Scalar:
    """Σ_i ½ ln(2πe Var[Z_i]) over the batch: bounds H[Z] (eq. 16)."""
    return 0.5 * (LN_2PIE + torch.log(z.var(0))).sum()


def conditional_log_variance(z: Latents, y: Labels) -> Scalar:
    """E_y Σ_i ½ ln(2πe Var[Z_i|y]): bounds H[Z|Y] (eq. 15). A class with one sample in the batch has no variance:
    it is left out and the others' weights add up to 1."""
    members = F.one_hot(y).to(z.dtype)
    count = members.sum(0)
    kept = count >= 2
    if not kept.any():
        return z.sum() * 0
    mean = (members.T @ z)[kept] / count[kept, None]
    # Deviations from the class mean, not E[z²] − E[z]²: no cancellation where a class has collapsed.
    class_index = (torch.cumsum(kept, 0) - 1).clamp(min=0)[y]
    deviations = (z - mean[class_index]) * kept[y, None]
    variance = (members.T @ deviations.square())[kept] / (count[kept, None] - 1)
    entropies = 0.5 * (LN_2PIE + torch.log(variance)).sum(1)
    return (count[kept] * entropies).sum() / count[kept].sum()


def rate(encoding: Encoding) -> Scalar:
    """E D_KL(p(z|x) ‖ N(0, I)) in closed form (Alemi et al. 2016; §C.2)."""
    variance = encoding.std.square()
    return 0.5 * (encoding.mean.square() + variance - 1 - torch.log(variance)).sum(1).mean()


def squared_weights(model: nn.Module) -> Scalar:
    """‖θ‖² over weight matrices and kernels; biases and scales are left alone."""
    total: Tensor = sum(parameter.square().sum() for parameter in model.parameters() if parameter.ndim > 1)  # type: ignore[assignment]
    return total


REGULARIZERS["none"] = Regularizer(lambda encoding, y, model: encoding.z.new_zeros(()))
REGULARIZERS["l2"] = Regularizer(lambda encoding, y, model: squared_norm(encoding.z))
REGULARIZERS["log-l2"] = Regularizer(lambda encoding, y, model: log_squared_norm(encoding.z))
REGULARIZERS["logvar"] = Regularizer(lambda encoding, y, model: log_variance(encoding.z))
REGULARIZERS["cond-logvar"] = Regularizer(lambda encoding, y, model: conditional_log_variance(encoding.z, y))
REGULARIZERS["dvib"] = Regularizer(lambda encoding, y, model: rate(encoding), noise="learned")
REGULARIZERS["weight-decay"] = Regularizer(lambda encoding, y, model: squared_weights(model))

_NAMED_STD = {"zero-entropy": ZERO_ENTROPY_STD, "none": 0.0, "learned": None}


def noise_name(recipe: Recipe) -> str:
    """The recipe's latent noise in a word or a number; `auto` is the regulariser's own."""
    return REGULARIZERS[recipe.reg].noise if recipe.noise == "auto" else recipe.noise


def noise_std(recipe: Recipe) -> float | None:
    """σ of the latent noise; None where the encoder learns it.

    Raises:
        BadInput: the noise is neither a known name nor a number ≥ 0, or does not go with the regulariser.
    """
    name = noise_name(recipe)
    if REGULARIZERS[recipe.reg].noise == "learned" and name == "none":
        raise BadInput(f"--noise none: the rate of {recipe.reg!r} is infinite without noise")
    if name in _NAMED_STD:
        return _NAMED_STD[name]
    try:
        std = float(name)
    except ValueError:
        std = math.nan
    if not (math.isfinite(std) and std >= 0):
        raise BadInput(f"--noise {name!r}; choose from auto, {', '.join(_NAMED_STD)} or a standard deviation ≥ 0")
    return std
