"""A fused model is the same function with the same gradient, and only where that is sure is anything fused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ibrobust.attacks.filling import ROWS
from ibrobust.cpu.fusion import fused
from ibrobust.cpu.pooled_convolutions import PooledConvolution, PooledGreyConvolution
from ibrobust.images import frozen


def network(
    kernel: int, padding: int | tuple[int, int] = 0, *, inputs: int = 1, bias: bool = True, pool_first: bool = False
) -> nn.Module:
    torch.manual_seed(0)
    rest = [nn.MaxPool2d(2), nn.ReLU()] if pool_first else [nn.ReLU(), nn.MaxPool2d((2, 2))]
    convolution = nn.Conv2d(inputs, 6, kernel, padding=padding, bias=bias)
    return nn.Sequential(convolution, *rest, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 4))


def images(height: int, width: int, channels: int = 1) -> Tensor:
    """Random ones, a flat one, and one that is flat in part: equal values in a pooling window."""
    x = torch.rand(20, channels, height, width, generator=torch.Generator().manual_seed(1))
    x[3], x[4, :, : height // 2] = 0.5, 0.0
    return x


def answer_and_gradient(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad((logits * torch.arange(1.0, 5.0)).sum(), x)
    return logits.detach(), gradient


@pytest.mark.parametrize(
    ("kernel", "padding", "size"),
    [
        (5, 2, (28, 28)),
        (5, 0, (28, 28)),
        (3, 1, (27, 27)),
        (3, 0, (9, 8)),
        (1, 0, (8, 8)),
        (7, 3, (13, 9)),
        (5, (2, 1), (11, 14)),
    ],
)
@pytest.mark.parametrize("form", [{}, {"bias": False}, {"pool_first": True}])
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_and_gradients_are_those_of_the_plain_model(kernel, padding, size, form, channels):
    model, x = network(kernel, padding, inputs=channels, **form), images(*size, channels)
    with frozen(model):
        logits, gradient = answer_and_gradient(model, x)
        with fused(model, x[:1]):
            assert isinstance(model[0], PooledGreyConvolution if channels == 1 else PooledConvolution)
            fused_logits, fused_gradient = answer_and_gradient(model, x)
            assert_close(model(x), logits, rtol=1e-5, atol=1e-6)
        assert isinstance(model[0], nn.Conv2d)
    assert_close(fused_logits, logits, rtol=1e-5, atol=1e-6)
    assert_close(fused_gradient, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_does_not_depend_on_the_others(channels):
    model, x = network(5, 2, inputs=channels), images(28, 28, channels).repeat(8, 1, 1, 1)
    with frozen(model), fused(model, x[:1]):
        logits, gradient = answer_and_gradient(model, x)
        some_logits, some_gradient = answer_and_gradient(model, x[:ROWS])
    assert torch.equal(logits[:ROWS], some_logits)
    assert torch.equal(gradient[:ROWS], some_gradient)


class TakesLayersOut(nn.Module):
    """Its answer has the ReLU but not the pooling of the Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.features = network(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.features[:2](x).mean((2, 3))


class LooksInside(TakesLayersOut):
    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) * self.features[0].weight.abs().sum()


def hooked() -> nn.Module:
    model = network(3)
    model[1].register_forward_hook(lambda _layer, _x, answer: answer + 1)
    return model


PLAIN: dict[str, Callable[[], nn.Module]] = {
    "takes layers out": TakesLayersOut,
    "looks inside": LooksInside,
    "hooked": hooked,
    "groups": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    "wide border": lambda: network(3, 3),
    "even kernel": lambda: network(2),
    "stride": lambda: nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    "reflected border": lambda: nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    ),
    "pooling of 3": lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten()),
    "float64": lambda: network(3).double(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_other_models_stay_as_they_are(name):
    model = PLAIN[name]()
    x = torch.rand(2, 3 if name == "groups" else 1, 12, 12)
    x = x.double() if name == "float64" else x
    with frozen(model):
        expected = model(x)
        with fused(model, x[:1]):
            assert not any(isinstance(layer, PooledConvolution | PooledGreyConvolution) for layer in model.modules())
            assert torch.equal(model(x), expected)


def test_layers_come_back_after_an_error():
    model, x = network(3), images(12, 12)
    layers = list(model)
    with pytest.raises(KeyError), fused(model, x[:1]):
        raise KeyError
    assert list(model) == layers
