"""H[Z] of a model between bounds that its own noise gives."""

import math

import pytest
import torch

from ibrobust.entropies.encoding_entropy import (
    encoding_entropy,
    has_known_density,
    noise_entropy,
    reverse_decoder_uncertainty,
)
from ibrobust.models import architecture, build_model
from ibrobust.models.bottleneck import Bottleneck, Encoding
from ibrobust.models.noise import LEARNED, NO_NOISE, ZERO_ENTROPY_STD, LatentNoise


def model(**settings) -> Bottleneck:
    return build_model(architecture("mlp"), **{"shape": (1, 8, 8), "classes": 3, "latent": 16, **settings})


def clusters(std: float) -> tuple[Encoding, torch.Tensor]:
    """Three means far apart, and nothing else but noise: H[Z] = ln 3 + H[noise], H[Z|Y] = H[noise], I[X;Z] = ln 3."""
    y = torch.arange(900) % 3
    mean = 50.0 * torch.eye(16)[y]
    noise = torch.randn(900, 16, generator=torch.Generator().manual_seed(0))
    return Encoding(mean, torch.full_like(mean, std), mean + std * noise), y


@pytest.mark.parametrize("std", [ZERO_ENTROPY_STD, 1.0])
def test_bounds_close_in_on_the_truth_where_the_raw_estimate_does_not(std: float) -> None:
    encoding, y = clusters(std)
    noise = 8 * math.log(2 * math.pi * math.e * std**2)
    entropy = encoding_entropy(model(noise=LatentNoise(std)), encoding, y)
    assert entropy.nats > noise + math.log(3) + 0.9
    assert entropy.low == pytest.approx(noise + math.log(3), abs=1e-6)
    assert entropy.high == pytest.approx(noise + math.log(3), abs=0.01)
    assert entropy.best == pytest.approx(noise + math.log(3), abs=0.01)
    reverse = reverse_decoder_uncertainty(model(noise=LatentNoise(std)), encoding, y)
    assert reverse.low == pytest.approx(noise, abs=1e-6)
    assert reverse.high == pytest.approx(noise, abs=0.01)


@pytest.mark.parametrize(("std", "entropy"), [(ZERO_ENTROPY_STD, 0.0), (1.0, 8 * math.log(2 * math.pi * math.e))])
def test_noise_entropy_is_closed_form(std: float, entropy: float) -> None:
    assert noise_entropy(model(noise=LatentNoise(std)), clusters(std)[0]) == pytest.approx(entropy, abs=1e-9)
    learned = noise_entropy(model(noise=LEARNED), clusters(std)[0])
    assert learned == pytest.approx(entropy, abs=1e-5)


def test_without_noise_nothing_bounds_from_below() -> None:
    encoding, _ = clusters(0.0)
    assert noise_entropy(model(noise=NO_NOISE), encoding) == -math.inf
    assert not has_known_density(model(noise=NO_NOISE))
    assert has_known_density(model(noise=LEARNED))
    assert not has_known_density(
        build_model(architecture("dropout-cnn"), shape=(1, 8, 8), classes=3, latent=4, noise=LatentNoise(1.0))
    )
