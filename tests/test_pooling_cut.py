"""Max-pooling written with ReLUs: the same values, bounds that hold, and the exact radii by branching."""

import numpy as np
import pytest
import torch
from torch import nn

from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.certificates.cut_pooling import Larger, with_pooling_cut
from ibrobust.certificates.effort import Effort
from ibrobust.certificates.layers import MaxPool
from ibrobust.certificates.linear_bounds import logit_interval
from tests.exact_radii import exact_radius
from tests.random_networks import worst_margins

SHAPE = (2, 6, 6)


def pooled(*pools: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), *pools, nn.Flatten())
    return nn.Sequential(features, nn.Linear(features(torch.zeros(1, *SHAPE)).shape[1], 3)).double().eval()


POOLS = {
    "a pool": [nn.MaxPool2d(2)],
    "before a ReLU": [nn.ReLU(), nn.MaxPool2d(2)],
    "of overlapping windows, padded, before a ReLU": [nn.MaxPool2d(3, 2, 1), nn.ReLU()],
    "of two windows behind each other": [nn.MaxPool2d((1, 3), 1), nn.Conv2d(3, 2, 2), nn.MaxPool2d(2), nn.ReLU()],
    "of one entry": [nn.MaxPool2d(1, 2)],
}


def network_of(model: nn.Module):
    return piecewise_linear_network(model, SHAPE, torch.device("cpu"))


@pytest.mark.parametrize("pools", POOLS.values(), ids=POOLS)
def test_the_same_values_and_bounds_that_hold(pools):
    model, eps = pooled(*pools), 0.1
    network = network_of(model)
    cut = with_pooling_cut(network)
    assert any(isinstance(step.layer, MaxPool) for step in network)
    assert not any(isinstance(step.layer, MaxPool) for step in cut)
    x = torch.rand(6, *SHAPE).double()
    low, high = logit_interval(cut, x, x)
    answer = model(x)
    assert (low <= answer + 1e-12).all()
    assert (high >= answer - 1e-12).all()
    np.testing.assert_allclose(low.detach(), high.detach(), atol=1e-9)
    y, radii = answer.argmax(1), torch.full((6,), eps, dtype=torch.float64)
    with torch.no_grad():
        found = certified_margins(cut, x, y, radii)
    assert (found <= worst_margins(model, x, y, eps) + 1e-12).all()


def test_padding_that_counts_is_not_cut():
    """Behind it stands a linear layer, for which padding by 0 would be another value than padding by −∞."""
    network = network_of(pooled(nn.MaxPool2d(2, padding=1)))
    assert with_pooling_cut(network) == network
    cut = with_pooling_cut(network_of(pooled(nn.MaxPool2d(2, padding=1), nn.ReLU())))
    assert any(isinstance(step.layer, Larger) for step in cut)


def narrow(seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """A network of a convolution, a pool of 2 × 2 and a linear layer on images of 2 × 4; and the same function of
    linear layers and ReLUs alone: a = max(a, 0) − max(−a, 0)."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 2, (1, 3), padding=(0, 1)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.8)
    pixels = torch.eye(8).view(8, 1, 2, 4)
    constant = model[0](torch.zeros(1, 1, 2, 4))
    matrix = (model[0](pixels) - constant).flatten(1).T.view(2, 2, 4, 8)
    first, bias = [], []
    for channel in range(2):
        for left in (0, 2):
            for row in range(2):
                (one, other), (b_one, b_other) = (
                    of[channel, row, left : left + 2] for of in (matrix, constant[0])
                )  # fmt: skip
                first += [other - one, one, -one]
                bias += [b_other - b_one, b_one, -b_one]
    of_pair = torch.tensor([1.0, 1.0, -1.0])
    second = torch.zeros(12, 24)
    for window in range(4):
        second[3 * window, 6 * window : 6 * window + 6] = torch.cat([-of_pair, of_pair])
        second[3 * window + 1, 6 * window : 6 * window + 3] = of_pair
        second[3 * window + 2, 6 * window : 6 * window + 3] = -of_pair
    third = torch.kron(model[3].weight.detach(), of_pair[None])
    twin = nn.Sequential(
        nn.Flatten(), nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 3)
    )  # fmt: skip
    with torch.no_grad():
        for layer, weight, shift in (
            (twin[1], torch.stack(first), torch.stack(bias)),
            (twin[3], second, torch.zeros(12)),
            (twin[5], third, model[3].bias),
        ):
            layer.weight.copy_(weight)
            layer.bias.copy_(shift)
    return model, twin


def test_branching_on_pools_comes_to_the_exact_radius():
    """Without cuts of pools there is nothing to cut in this network."""
    grid = [float(radius) for radius in np.linspace(0.01, 0.5, 50)]
    gained = 0
    for seed in range(3):
        model, twin = narrow(seed)
        image = torch.rand(1, 1, 2, 4)
        torch.testing.assert_close(model(image), twin(image))
        label = model(image).argmax(1)
        radius = exact_radius(twin, image, int(label), 0.5)
        plain, found = (
            certified_eps_N(model, image, label, grid, effort=effort)[0] for effort in (None, Effort(branches=200))
        )
        assert plain <= found < radius
        assert found >= min(radius, 0.5) - 0.0101
        gained += found > plain
    assert gained
