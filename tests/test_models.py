"""Every registered architecture: shapes, seeds, gradients, and samples that do not see their neighbours."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from ibrobust.bottleneck import Bottleneck
from ibrobust.errors import BadInput
from ibrobust.models import MODELS, build_model

SHAPES = {}


def untrained(name: str, seed: int = 0) -> Bottleneck:
    return build_model(name, shape=SHAPES.get(name, (1, 28, 28)), classes=10, latent=16, noise_std=0.24, seed=seed)


def images(name: str, count: int) -> torch.Tensor:
    return torch.rand(count, *SHAPES.get(name, (1, 28, 28)), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    state = torch.random.get_rng_state()
    one, same, other = untrained(name, 1), untrained(name, 1), untrained(name, 2)
    assert torch.equal(torch.random.get_rng_state(), state), "torch's global generator is left alone"
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.decoder.weight, other.decoder.weight)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_sample_does_not_see_its_neighbours(name: str) -> None:
    model, x = untrained(name).eval(), images(name, 6)
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_starts_near_chance_and_every_parameter_learns(name: str) -> None:
    model = untrained(name)
    y = torch.arange(20) % 10
    loss = cross_entropy(model(images(name, 20)), y)
    assert loss.item() == pytest.approx(math.log(10), abs=0.5)
    loss.backward()
    still = [
        label for label, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert still == []


def test_an_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"no model 'vgg'; choose from .*mlp"):
        untrained("vgg")
