"""The paper's quantities of a trained model on given samples, in nats."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.encoding_entropy import encoding_entropy, noise_entropy
from ibrobust.errors import RunFailed
from ibrobust.images import as_images, frozen
from ibrobust.models import categorical
from ibrobust.models.bottleneck import Bottleneck, Encoding
from ibrobust.randomness import sample_draw
from ibrobust.types import Labels, Latents

_PIXELS_AT_A_TIME = 2**20
_K = 3


def encoded(model: Bottleneck, x: Tensor, *, seed: int = 0, first: int = 0) -> Encoding:
    """p(z|x) and one latent sample for every image; sample i's noise depends on (seed, first + i) alone."""
    device = next(model.parameters()).device
    draw = sample_draw(seed, torch.arange(first, first + len(x), device=device)).fold("information")
    with frozen(model), torch.no_grad():
        parts = [model.encode(as_images(x[rows].to(device)), draw[rows]) for rows in blocks(x)]
    return Encoding(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def mean_latents(model: Bottleneck, x: Tensor) -> Latents:
    """The latents of the mean path: no noise, neither the latent's own nor that of layers."""
    device = next(model.parameters()).device
    with frozen(model), torch.no_grad():
        return torch.cat([model.distribution(as_images(x[rows].to(device)))[0] for rows in blocks(x)])


def require_finite(model: Bottleneck, x: Tensor) -> None:
    """Raises:
    RunFailed: the latent or the logits of some images are not finite. The terms of a training's loss cannot show it of
        the last step, since they are computed before it.
    """
    encoding = encoded(model, x)
    with torch.no_grad():
        outputs = [*encoding, model.decoder(encoding.z)]
    finite = torch.stack([output.isfinite().flatten(1).all(1) for output in outputs]).all(0)
    if not finite.all():
        raise RunFailed(f"the latent or the logits of {int((~finite).sum())} of {len(x)} images are not finite")


def blocks(x: Tensor) -> list[slice]:
    """Parts of the images that go through the model at once."""
    size = max(1, _PIXELS_AT_A_TIME // x[0].numel())
    return [slice(start, start + size) for start in range(0, len(x), size)]


def summary(model: Bottleneck, x: Tensor, y: Labels, *, seed: int = 0) -> dict[str, float]:
    """Error and information of a run in a few numbers.

    `error` (mean path), `decoder_cross_entropy` Hθ[Y|Z] with one latent sample per image, and, where the latent has
    noise so that they are finite, `encoding_entropy` H[Z] (k-NN, k = 3, less its bias and moved into its bounds). Where
    the entropy of the noise is known, also `encoding_entropy_given_input` H[Z|X] in closed form and
    `preserved_information` I[X;Z] = H[Z] − H[Z|X]. `_low` and `_high` are the bounds; the number between them is left
    out where they are more than a nat apart.
    """
    encoding = encoded(model, x, seed=seed)
    y = y.to(encoding.z.device)
    with torch.no_grad():
        means = mean_latents(model, x) if model.noisy_layers else encoding.mean
        error = (model.decoder(means).argmax(1) != y).double().mean().item()
        cross_entropy = F.cross_entropy(model.decoder(encoding.z).double(), y).item()
    measured = {"error": error, "decoder_cross_entropy": cross_entropy}
    if model.noise.absent or len(x) <= _K:
        return measured
    estimate = encoding_entropy(model, encoding, y, Neighbours(k=_K, repeats=2))
    interval = {"_low": estimate.low, "_high": estimate.high}
    entropy = interval if math.isnan(estimate.told) else {"": estimate.told} | interval
    measured |= {f"encoding_entropy{end}": nats for end, nats in entropy.items()}
    given_input = noise_entropy(model, encoding)
    if model.noisy_layers or given_input is None:  # dropout's part of H[Z|X] cannot be computed (Kirsch et al. §G.3.1)
        return measured
    preserved = {f"preserved_information{end}": nats - given_input for end, nats in entropy.items()}
    return measured | {"encoding_entropy_given_input": given_input, **preserved}


def categorical_quantities(model: Bottleneck, z: categorical.Probabilities, y: Labels) -> dict[str, float]:
    """`decoder_uncertainty` H[Y|Z] ≤ `decoder_cross_entropy` Hθ[Y|Z] ≥ `prediction_cross_entropy` Hθ[Y|X], exact sums
    over the categories of p(z|x)."""
    with torch.no_grad():
        table = categorical.table_of(model.decoder).double()
        z = z.double()
        quantities = {
            "decoder_uncertainty": categorical.decoder_uncertainty(categorical.joint(z, y, table.shape[1])),
            "decoder_cross_entropy": categorical.decoder_cross_entropy(z, y, table),
            "prediction_cross_entropy": categorical.prediction_cross_entropy(z, y, table),
        }
    return {name: value.item() for name, value in quantities.items()}
