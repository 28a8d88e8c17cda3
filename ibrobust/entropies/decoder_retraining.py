"""A better decoder for an encoder that stays as it is: a tighter bound on H[Y|Z] (Kirsch et al. §G.3.1)."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from ibrobust.errors import BadInput
from ibrobust.types import Labels, Latents

_ITERATIONS = 200


def retrained_decoder(decoder: nn.Module, z: Latents, y: Labels) -> nn.Linear:
    """The linear decoder of least cross-entropy on these latent samples, found by L-BFGS from the given one.

    The problem is convex, so there is nothing to tune. With few samples the minimum is a fit to them, not a bound for
    others: measure on other samples of the noise, and have many more samples than weights.

    Raises:
        BadInput: the given decoder is not linear.
    """
    if not isinstance(decoder, nn.Linear):
        raise BadInput(f"retrain_decoder: the decoder is {type(decoder).__name__}; only a linear one is trained anew")
    retrained = copy.deepcopy(decoder).double().requires_grad_()
    z = z.double()
    optimizer = torch.optim.LBFGS(
        retrained.parameters(), max_iter=_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(retrained(z), y)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return retrained.requires_grad_(False)
