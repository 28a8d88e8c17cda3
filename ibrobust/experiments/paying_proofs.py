"""Whether proofs cost less than the attacks that they save.

Both sides are counted, not timed: the same model, samples and settings give the same answer on every machine, and so
the same queries in the card.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.datasets import Split
from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen

_DEARER = 3.6
"""How many times as long an operation of bounds takes as one of a gradient, since bounds are computed in float64 and
move much of what they compute: on one core 3.0 on the LeNet of the benchmark, 4.2 on its strided CNN and 3.6 on its
small ResNet."""

_SAMPLES = 8
_ROWS = 16


class Choice(NamedTuple):
    """Whether to prove, and why, in a few words."""

    prove: bool
    why: str


def paying_proofs(model: nn.Module, samples: Split, radii: Sequence[float], gradients: float) -> Choice:
    """Whether to bound a model's samples before they are attacked.

    Args:
        samples: some that are like those that are to be attacked; the model is on the device where it will be.
        radii: those that are attacked; only samples that are certain at the largest one count as saved.
        gradients: what the attacks take for a sample that they leave standing.
    """
    positive = [radius for radius in radii if radius > 0]
    some = samples[:: max(1, len(samples) // _SAMPLES)][:_SAMPLES]
    device = next((parameter.device for parameter in model.parameters()), samples.x.device)
    x, y = some.x.to(device), some.y.to(device)
    try:
        price = _gradients_of_bounds(model, as_images(x), y, positive[-1]) * math.ceil(math.log2(len(positive) + 1))
        said = f"bounds take as long as {price:.0f} gradients a sample, attacks {gradients:.0f}"
        if price >= gradients:
            return Choice(False, f"no proofs: {said}")
        share = float((certified_eps_N(model, x, y, [positive[-1]]) > 0).mean())
    except BadInput as error:
        return Choice(False, f"no proofs: {error}")
    prove = price < share * gradients
    said += f", and {share:.0%} of {len(x)} samples are certain at the largest radius"
    return Choice(prove, f"{'proofs first' if prove else 'no proofs'}: {said}")


def _gradients_of_bounds(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> float:
    """How many gradients of one sample take as long as linear bounds at one radius.

    Raises:
        BadInput: there is no certificate for the model.
    """
    network = piecewise_linear_network(model, x.shape[1:], x.device)
    images = x[:1].expand(_ROWS, *x.shape[1:])

    def gradient() -> None:
        with frozen(model), torch.enable_grad():
            answer = model(images.clone().requires_grad_())[:, 0].sum()
            if answer.requires_grad:
                answer.backward()

    def bounds() -> None:
        with torch.no_grad():
            certified_margins(network, x[:1].double(), y[:1], torch.full_like(y[:1], radius, dtype=torch.float64))

    return _DEARER * _operations(bounds) / max(1.0, _operations(gradient) / _ROWS)


def _operations(work: Callable[[], None]) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # Without triton a torch for GPUs warns of it on stderr.

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
