"""Networks whose branches meet: their bounds over patches against a twin of matrices, and against attacks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.models import mlp, resnet
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.test_certificate import dense_twin

JOINS = {
    "sum": lambda one, two: one + two,
    "difference": lambda one, two: one - 0.5 * two,
    "cat": lambda one, two: torch.cat([one, two], 1),
}


class Branched(nn.Module):
    """Two branches from the same features, joined; the features' layers are given, as convolutions or as matrices."""

    def __init__(self, stem: nn.Module, one: nn.Module, two: nn.Module, head: nn.Module, join: str) -> None:
        super().__init__()
        self.stem, self.one, self.two, self.head, self.join = stem, one, two, head, join

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.stem(x))
        one, two = self.one(features), self.two(features)
        return self.head(F.relu(JOINS[self.join](one, two)).flatten(1))


BRANCHES = {
    "identity": ((3, 3, 1, 1, 1), None),
    "two sizes": ((3, 3, 1, 1, 1), (3, 1, 1, 0, 1)),
    "halved": ((3, 3, 2, 1, 1), (3, 1, 2, 0, 1)),
    "dilated": ((3, 3, 1, 2, 2), (3, 3, 1, 1, 1)),
    "not centred": ((3, 2, 2, 0, 1), (3, 3, 2, 1, 1)),
    "not alike": ((3, 2, 3, 1, 1), (3, 3, 2, 1, 1)),
}
"""Output channels, size, stride, padding and dilation of both branches on 6 × 6 features; None is the identity."""


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("name", BRANCHES)
def test_branches_over_patches_equal_branches_of_matrices(name, join):
    torch.manual_seed(4)
    stem = nn.Conv2d(2, 3, 3, padding=1)
    one, two = (nn.Identity() if how is None else nn.Conv2d(3, *how[:4], dilation=how[4]) for how in BRANCHES[name])
    shapes = [part(torch.zeros(1, 3, 6, 6)).shape[1:] for part in (one, two)]
    assert shapes[0] == shapes[1]
    outputs = shapes[0].numel() * (2 if join == "cat" else 1)
    model = Branched(stem, one, two, nn.Linear(outputs, 4), join)
    images, features = torch.Size([2, 6, 6]), torch.Size([3, 6, 6])
    twins = [dense_twin(part.double(), shape) for part, shape in ((stem, images), (one, features), (two, features))]
    dense = nn.Sequential(nn.Flatten(), Branched(*twins, model.head, join)).double()
    x, y = torch.rand(2, 2, 6, 6).double(), torch.tensor([0, 3])
    eps = torch.tensor([0.02, 0.2]).double()
    networks = [piecewise_linear_network(each, images, x.device) for each in (model, dense)]
    bounds = [certified_margins(network, x, y, eps) for network in networks]
    torch.testing.assert_close(*bounds, rtol=1e-9, atol=1e-9)


class Residual(nn.Module):
    """A post-activation block with in-place operations, as torchvision writes them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.normal, self.relu = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.normal(self.first(x))))
        out += x
        return self.relu(out)


def small(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True), *layers)


NETWORKS = {
    "residual": lambda: small(Residual(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    "of VGG's kind": lambda: small(
        nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 3),
    ),
    "fully connected and residual": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), mlp._Residual(16), mlp._Residual(16), nn.ReLU(), nn.Linear(16, 3)
    ),
    "of this package": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), resnet._PreActivation(4, 6, 2, 0.1), nn.Flatten(), nn.Linear(96, 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_no_attack_breaks_a_certified_radius_of_a_network_with_branches(name):
    torch.manual_seed(5)
    model = NETWORKS[name]().eval()
    x = torch.rand(8, 1, 8, 8)
    y = model(x).argmax(1)
    radii = list(np.geomspace(1e-4, 0.1, 16))
    results = breaking_radii(model, x, y, eps=radii)
    certified = certified_eps_N(model, x, y, radii)
    assert (results.all_attacks_N > certified).all()
    assert certified.mean() > 0.1 * np.minimum(results.all_attacks_N, 0.1).mean()
