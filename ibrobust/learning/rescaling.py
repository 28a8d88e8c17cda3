"""The paper's toy experiment (Kirsch et al. §G.4, figure 3): a latent that shrinks while the function stays.

After every epoch the latent is scaled to a given size and the decoder undoes the scale. Without noise nothing changes
but the latent's entropy, which falls without limit; with noise the signal drowns.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.entropies.calibration import Neighbours
from ibrobust.entropies.encoding_entropy import encoding_entropy
from ibrobust.entropies.quantities import encoded
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.types import Labels


class Scaled(nn.Module):
    """The encoder's features times a factor that is not learned: its weights, and Adam's steps, keep their size."""

    scale: Tensor

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.encoder(x) * self.scale
        return scaled


class UnscaledLinear(nn.Linear):
    """A linear decoder of latents that `Scaled` has scaled."""

    def __init__(self, decoder: nn.Linear, encoder: Scaled) -> None:
        super().__init__(decoder.in_features, decoder.out_features)
        self.weight, self.bias = decoder.weight, decoder.bias
        self.scale_of = [encoder]  # in a list: the decoder does not own the encoder

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input / self.scale_of[0].scale, self.weight, self.bias)


def make_scalable(model: Bottleneck) -> None:
    """Give the model's latent a scale, 1 at first."""
    assert isinstance(model.decoder, nn.Linear)  # recipes see to it
    model.encoder = Scaled(model.encoder)
    model.decoder = UnscaledLinear(model.decoder, model.encoder)


def rescale(model: Bottleneck, x: Tensor, y: Labels, size: float) -> dict[str, float]:
    """Scale the latent so that its standard deviation without noise is `size`, over the given images and as a mean
    over dimensions, and measure what that makes of it.

    Returns:
        `latent_scale`; `encoding_entropy` H[Z] in nats (k-NN, k = 3, less its bias on Gaussians and moved into its
        bounds), the bounds `_low` and `_high` and the `_raw` estimate; `rescaled_error` with one sample of the noise.

    The raw estimate alone would not do: of zero-entropy noise, whose entropy is 0, it says 25 nats (K = 128, n = 2000),
    and of a latent that lies in fewer dimensions than it has, whose entropy is −∞, it says a number.
    """
    scale = _scale(model)
    scale *= size / encoded(model, x).mean.var(0).mean().sqrt()
    encoding = encoded(model, x)
    with torch.no_grad():
        mistakes = model.decoder(encoding.z).argmax(1) != y.to(encoding.z.device)
    entropy = encoding_entropy(model, encoding, y.to(encoding.z.device), Neighbours(repeats=2))
    return {
        "latent_scale": scale.item(),
        "encoding_entropy_raw": entropy.nats,
        "encoding_entropy": entropy.best,
        "encoding_entropy_low": entropy.low,
        "encoding_entropy_high": entropy.high,
        "rescaled_error": mistakes.double().mean().item(),
    }


def fold_scale(model: Bottleneck) -> None:
    """Write the scale into the weights, so that the model is an ordinary one again."""
    scaled, decoder, scale = model.encoder, model.decoder, _scale(model)
    assert isinstance(scaled, Scaled)
    assert isinstance(decoder, UnscaledLinear)
    last = [layer for layer in scaled.encoder.modules() if isinstance(layer, nn.Linear)][-1]
    plain = nn.Linear(decoder.in_features, decoder.out_features, device=scale.device)
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale)
        plain.weight.copy_(decoder.weight / scale)
        plain.bias.copy_(decoder.bias)
    model.encoder, model.decoder = scaled.encoder, plain


def _scale(model: Bottleneck) -> Tensor:
    assert isinstance(model.encoder, Scaled)
    return model.encoder.scale
