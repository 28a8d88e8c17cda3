"""No certificate is too large: random networks of every operation that is accepted, against what attacks find."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.errors import BadInput
from tests.random_networks import SHAPES, random_network, worst_margins


def checked(choose, seed: int) -> bool:
    """Whether a random network is accepted; if it is, no bound is above what some image shows."""
    torch.manual_seed(seed)
    shape, classes = choose(SHAPES), choose([2, 3, 4])
    model = random_network(choose, shape, classes).to(choose([torch.float32] * 4 + [torch.float64]))
    x, y = torch.rand(3, *shape), torch.randint(classes, (3,))
    try:
        network = piecewise_linear_network(model, shape, x.device)
    except BadInput:
        return False
    for eps in (1e-4, 0.03, 0.3):
        bounds = certified_margins(network, x.double(), y, torch.full((3,), eps + 1e-6, dtype=torch.float64))
        found = worst_margins(model, x, y, eps)
        assert (bounds <= found).all(), f"at {eps}, too large by {(bounds - found).max():.3g}:\n{model}"
    return True


# The failing network is printed as it is: making it smaller takes minutes.
@settings(
    max_examples=80, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(st.data(), st.integers(0, 2**31))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_no_bound_is_above_what_an_image_shows(data, seed):
    checked(lambda options: data.draw(st.sampled_from(list(options))), seed)


def test_a_margin_that_float32_may_turn_is_not_certified():
    """Hidden units that hardly look at the image and cancel: the float32 margin is negative, the exact one positive."""
    torch.manual_seed(0)
    x, y = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    turned = 0
    for _ in range(40):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 2))
        with torch.no_grad():
            model[1].weight.fill_(1e-9)
            model[1].bias.uniform_(10, 30)
            model[3].bias.zero_()
            exact = copy.deepcopy(model).double()(x.double())[0]
            model[3].bias.copy_(torch.tensor([1e-6, 0.0]) - exact)
            margin = copy.deepcopy(model).double()(x.double())[0] @ torch.tensor([1.0, -1.0]).double()
            if margin > 0 and model(x).argmax(1) != y:
                turned += 1
                assert certified_eps_N(model, x, y, [1e-4])[0] == 0
    assert turned > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_margins_beyond_rounding_are_certified(dtype):
    """One pixel, logits ±(x − 0.45) · 10 at x = 0.5: exact radius 0.05."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).to(dtype)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[10.0], [-10.0]]))
        model[1].bias.copy_(torch.tensor([-4.5, 4.5]))
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    assert certified_eps_N(model, x, y, [0.04, 0.0499, 0.04999, 0.05])[0] == np.float32(0.04999)
