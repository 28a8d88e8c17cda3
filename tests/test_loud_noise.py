"""Latent noise that moves logits by many nats: the worst expected accuracy of a linear classifier is a closed form."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ibrobust import noisy_readings
from ibrobust.attacks import ATTACKS
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import LatentNoise
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.statistics import wilson_interval

NOISE = 0.1
"""Standard deviation of the latent."""


def linear_with_noise(scale: float) -> tuple[nn.Module, Tensor]:
    """Two classes on 16 pixels, one latent dimension w · (x − ½), logits ± scale · z; and w."""
    weight = torch.linspace(-1, 1, 16) / 8
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    encoder[1].weight.data, encoder[1].bias.data = weight[None], -weight.sum()[None] / 2
    decoder = nn.Linear(1, 2, bias=False)
    decoder.weight.data = scale * torch.tensor([[1.0], [-1.0]])
    pixel = {"pixel_mean": torch.zeros(1), "pixel_std": torch.ones(1)}
    return Bottleneck(encoder, decoder, noise=LatentNoise(NOISE), **pixel), weight


def samples(count: int, weight: Tensor, latent: float) -> tuple[Tensor, Tensor]:
    """Images whose latent is exactly `latent`, away from the ends of [0, 1], and the class of that sign."""
    direction = torch.sign(weight) * weight.abs() / weight.square().sum()
    y = torch.arange(count) % 2
    return (0.5 + latent * (1 - 2 * y[:, None]) * direction).view(-1, 1, 4, 4), y


DLR = replace(ATTACKS["apgd-dlr"], settings=ATTACKS["apgd-dlr"].settings | {"steps": 20})
FEWER = {"pgd": {"steps": 10}, "apgd-ce": {"steps": 20}, "apgd-dlr": {"steps": 20}}


@pytest.mark.parametrize(
    ("scale", "norm", "noise"),
    [
        (1, "linf", "fresh"),
        (10, "l2", "fresh"),
        (100, "linf", "fresh"),
        (100, "l2", "averaged:4"),
        (1000, "l2", "fresh"),
    ],
)
def test_the_worst_expected_accuracy_is_the_closed_form_at_every_scale_of_the_logits(scale, norm, noise) -> None:
    model, weight = linear_with_noise(scale)
    x, y = samples(400, weight, latent=0.2)
    slope = float(weight.abs().sum() if norm == "linf" else weight.norm())
    reach, attacks = [0.1 / slope, 0.3 / slope, 0.6 / slope], {"deepfool": ATTACKS["deepfool"], "apgd-dlr": DLR}
    readings = noisy_readings(model, x, y, eps=reach, norm=norm, noise=noise, attacks=attacks)
    for eps, right in zip(reach, readings.right_EN("all", "fresh"), strict=True):
        known = float(torch.special.ndtr(torch.tensor((0.2 - eps * slope) / NOISE)))
        _, low, high = wilson_interval(int(right.sum()), right.size, level=0.999)
        assert low <= known <= high, (eps, right.mean(), known)
    assert right.sum() == 0, "four standard deviations beyond the boundary"


@pytest.mark.parametrize(("scale", "norm"), [(1, "l2"), (10, "linf"), (100, "l2")])
@pytest.mark.parametrize("attack", PROTOCOLS["strict-rand"].attacks)
def test_each_attack_alone_reaches_the_worst_expected_accuracy(attack: str, scale: float, norm: str) -> None:
    model, weight = linear_with_noise(scale)
    x, y = samples(200, weight, latent=0.2)
    slope = float(weight.abs().sum() if norm == "linf" else weight.norm())
    reach = [0.1 / slope, 0.3 / slope, 0.6 / slope]
    alone = {attack: replace(ATTACKS[attack], settings=ATTACKS[attack].settings | FEWER.get(attack, {}))}
    readings = noisy_readings(model, x, y, eps=reach, norm=norm, noise="fresh", attacks=alone)
    for eps, right in zip(reach, readings.right_EN("all", "fresh"), strict=True):
        known = float(torch.special.ndtr(torch.tensor((0.2 - eps * slope) / NOISE)))
        _, low, high = wilson_interval(int(right.sum()), right.size, level=0.999)
        assert low <= known <= high, (eps, right.mean(), known)
