"""Networks in which a counterexample of every sample is known, planted where gradients do not lead.

All samples are random images of 8 × 8 pixels with label 0, and each has hidden units of its own: at the image and in
most of its ball they are off, and only in one corner of it does one of them raise logit 1 above that of the label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPS = 0.1
PIXELS, ADDRESS, CLASSES = 64, 12, 5


@dataclass(frozen=True)
class Planted:
    """A model, its samples, and one counterexample within `EPS` of each."""

    model: nn.Module
    x: Tensor
    y: Tensor
    counterexample: Tensor


class Layers(nn.Module):
    """Two layers of ReLUs and one of logits, with a linear path from the pixels to the logits."""

    def __init__(self, first: Tensor, offset: Tensor, second: Tensor, last: Tensor, direct: Tensor, bias: Tensor):
        super().__init__()
        self.first = _linear(first, offset)
        self.second = _linear(second, torch.zeros(len(second)))
        self.last = _linear(last, bias)
        self.direct = _linear(direct, torch.zeros(len(direct)))

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1)
        hidden = torch.relu(self.second(torch.relu(self.first(pixels))))
        logits: Tensor = self.last(hidden) + self.direct(pixels)
        return logits


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def plateau(samples: int, seed: int, *, units: int = 8, quiet: int = 0) -> Planted:
    """Several `units` of each sample can switch on, and one of them decides: no gradient anywhere near the image.
    Beside them stand so many `quiet` units that are a little below zero everywhere."""
    generator = torch.Generator().manual_seed(seed)
    x, code = _images(samples, generator)
    weight = _patterns(code, units, generator)
    first, offset, room = _switching(x, weight, 0.6)
    strength = torch.full((samples, units), 0.5)
    strength[:, 0] = 1.5
    first = torch.cat([first, torch.zeros(quiet, PIXELS)])
    offset = torch.cat([offset, torch.full((quiet,), -0.01)])
    last = torch.zeros(CLASSES, samples * units + quiet)
    last[1, : samples * units] = strength.flatten() / room
    return _planted(x, (first, offset, torch.eye(len(offset)), last), torch.zeros(CLASSES, PIXELS), weight[:, 0])


def deep_plateau(samples: int, seed: int) -> Planted:
    """The same with two units of each sample among eight quiet ones: by the layer's mean, the deciding unit is far
    below zero."""
    return plateau(samples, seed, units=2, quiet=8 * samples)


def both_of_two(samples: int, seed: int) -> Planted:
    """Two units of each sample have to be on together: logit 1 rises with the smaller of the two, and each alone
    changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    x, code = _images(samples, generator)
    weight = _patterns(code, 2, generator)
    first, offset, room = _switching(x, weight, 0.5)
    one, other = torch.eye(samples * 2).view(samples, 2, -1).unbind(1)
    second = torch.cat([one, one - other])
    last = torch.zeros(CLASSES, 2 * samples)
    scale = 6 / room.view(samples, 2).mean(1)
    last[1] = torch.cat([scale, -scale])
    # Where the two patterns differ, every second pixel follows the one and the others the other.
    turns = torch.where(torch.arange(PIXELS) % 2 > 0, weight[:, 0], weight[:, 1])
    towards = torch.where(weight[:, 0] * weight[:, 1] > 0, weight[:, 0], turns)
    return _planted(x, (first, offset, second, last), torch.zeros(CLASSES, PIXELS), towards)


def decoy(samples: int, seed: int) -> Planted:
    """A linear path raises logit 1, never enough, in the direction away from the corner where one unit decides."""
    generator = torch.Generator().manual_seed(seed)
    x, code = _images(samples, generator)
    direction = torch.sign(torch.randn(PIXELS, generator=generator))
    direction[:ADDRESS] = 0
    weight = _patterns(code, 1, generator)
    turned = torch.rand(samples, 1, PIXELS, generator=generator) < 0.8
    weight[:, :, ADDRESS:] = torch.where(turned, -direction, direction)[:, :, ADDRESS:]
    first, offset, room = _switching(x, weight, 0.6)
    last, direct = torch.zeros(CLASSES, samples), torch.zeros(CLASSES, PIXELS)
    last[1] = 3 / room
    direct[1] = 0.7 * direction / (EPS * (PIXELS - ADDRESS))
    return _planted(x, (first, offset, torch.eye(samples), last), direct, weight[:, 0])


CONSTRUCTIONS: dict[str, Callable[[int, int], Planted]] = {
    "plateau": plateau,
    "deep-plateau": deep_plateau,
    "both-of-two": both_of_two,
    "decoy": decoy,
}


def _images(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images that differ by far in their first pixels, a code of −1 and 1 that no attack can change, and hardly in the
    others; and the codes."""
    codes: list[Tensor] = []
    while len(codes) < samples:
        code = torch.sign(torch.randn(ADDRESS, generator=generator))
        if all((code != other).sum() >= 4 for other in codes):
            codes.append(code)
    code = torch.stack(codes)
    base = 0.3 + 0.4 * torch.rand(PIXELS, generator=generator)
    x = base + 0.02 * torch.rand(samples, PIXELS, generator=generator)
    x[:, :ADDRESS] = 0.5 + 0.3 * code
    return x, code


def _patterns(code: Tensor, units: int, generator: torch.Generator) -> Tensor:
    """Weights of so many units of each sample: a random corner, which only that sample's ball holds."""
    weight = torch.sign(torch.randn(len(code), units, PIXELS, generator=generator))
    weight[:, :, :ADDRESS] = 4 * code[:, None]
    return weight


def _switching(x: Tensor, weight: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights and offsets of units that are on only where this share of the way to their corner of the ball is gone,
    and how large each is in its corner."""
    reach = EPS * weight.abs().sum(2)
    offset = -((weight * x[:, None]).sum(2) + share * reach)
    return weight.flatten(0, 1), offset.flatten(), ((1 - share) * reach).flatten()


def _planted(x: Tensor, layers: tuple[Tensor, Tensor, Tensor, Tensor], direct: Tensor, towards: Tensor) -> Planted:
    """Checked: every image is classified as 0, and every counterexample is not."""
    model = Layers(*layers, direct, torch.eye(CLASSES)[0] - direct @ x.mean(0)).eval()
    images = x.view(-1, 1, 8, 8)
    moved = (images + EPS * torch.sign(towards).view_as(images)).clamp(0, 1)
    assert (model(images).argmax(1) == 0).all()
    assert (model(moved).argmax(1) != 0).all()
    return Planted(model, images, torch.zeros(len(x), dtype=torch.int64), moved)
