"""What is certified is what the model computes, however it is written; whatever cannot be followed is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from ibrobust.certificates.certificate import certified_eps_N, certified_margins, piecewise_linear_network
from ibrobust.errors import BadInput
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import NO_NOISE


class Written(nn.Module):
    """A forward pass written as a function of the images and a few layers."""

    def __init__(self, forward, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.written = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.written(x, *self.layers)


def flat(features: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 3))


class Rounded(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((255 * x).round() / 255)


class Softmaxed(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).softmax(1)


class Counted(nn.Sequential):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 if self.calls < 3 else 2)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def overridden() -> nn.Module:
    model = flat()
    model[1].forward = lambda x: F.linear(x.sign(), model[1].weight)
    return model


def hooked() -> nn.Module:
    model = flat()
    model[1].register_forward_pre_hook(lambda _module, args: (args[0].round(),))
    return model


def swapped_data(x, layer):
    z = layer(x.flatten(1))
    z.data = z.data.round()
    return z


def view_of_what_is_overwritten(x, layer):
    z = layer(x.flatten(1))
    other = z.view(len(z), 3, 1)
    z.relu_()
    return other.flatten(1)


def swapped(x, layer):
    z, other = layer(x.flatten(1)), layer(x.flatten(1)).round()
    torch.utils.swap_tensors(z, other)
    return z


def in_a_thread(x, layer):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(layer, x.flatten(1)).result()


def autocast(x, layer):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return layer(x.flatten(1))


def categorical() -> nn.Module:
    pixels = {"pixel_mean": torch.zeros(1), "pixel_std": torch.ones(1)}
    return Bottleneck(flat(), nn.Linear(3, 3), noise=NO_NOISE, categorical=True, **pixels)


TRAINED_HERE = nn.BatchNorm2d(1, track_running_stats=False)
REFUSED = {
    "gelu": lambda: nn.Sequential(flat(), nn.GELU()),
    "_softmax": categorical,
    "'_softmax'": lambda: nn.Sequential(nn.Flatten(), Softmaxed(16, 3)),
    "'round' in Rounded": lambda: Rounded(*flat()),
    "'round'": lambda: Written(lambda x, layer: layer(StraightThrough.apply(x)), flat()),
    "'round' in": hooked,
    "'sign'": overridden,
    "batch's own": lambda: nn.Sequential(TRAINED_HERE, flat()),
    "no ceil mode": lambda: nn.Sequential(nn.MaxPool2d(3, ceil_mode=True), flat(4)),
    "padding has to count": lambda: nn.Sequential(nn.AvgPool2d(2, padding=1, count_include_pad=False), flat(9)),
    "on the values": lambda: Written(lambda x, layer: layer(x * x[x > 0.5].sum()), flat()),
    "only zeros": lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5), flat(36)),
    "in-place operation": lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), flat()),
    "changed": lambda: Written(view_of_what_is_overwritten, nn.Linear(16, 3)),
    "has shape|answers shape": lambda: nn.Sequential(nn.Flatten(2), nn.Linear(16, 3)),
    "the rows of images": lambda: nn.Sequential(nn.Linear(4, 4), flat()),
    "mixes the samples": lambda: Written(lambda x, layer: layer(x) - layer(x).mean(0), flat()),
    "on the values of its images": lambda: Written(lambda x, layer: layer(x) * (2 if x.mean() > 0.9 else 1), flat()),
    "memory .numpy": lambda: Written(lambda x, layer: layer(x + torch.tensor(x.numpy().round())), flat()),
    "memory .set": lambda: Written(swapped_data, nn.Linear(16, 3)),
    "whose memory": lambda: Written(swapped, nn.Linear(16, 3)),
    "or a thread": lambda: Written(in_a_thread, nn.Linear(16, 3)),
    "computes in bfloat16": lambda: Written(autocast, nn.Linear(16, 3)),
    "in float16": lambda: flat().half(),
    "draws random numbers": lambda: Written(lambda x, layer: layer(x + torch.rand(1, 1, 4, 4)), flat()),
    "NumPy's|draws": lambda: Written(lambda x, layer: layer(x + float(np.random.rand())), flat()),
    "changes the model itself": lambda: Counted(*flat()),
    "same in every call": lambda: Written(lambda x, layer: layer(x) * (2 if len(x) > 8 else 1), flat()),
    "in every call": lambda: Written(lambda x, layer: layer(x) * (2 if x.requires_grad else 1), flat()),
    "writes into its input": lambda: Written(lambda x, layer: layer(x.sub_(0.5)), flat()),
    "writes into a tensor": lambda: Written(lambda x, layer: layer(x) + layer[1].bias.mul_(2), flat()),
    "both of its operands": lambda: Written(lambda x, layer: layer(x) * layer(x), flat()),
    "no tensor made from its images": lambda: Written(lambda x, layer: layer[1].weight[:, :3], flat()),
    "nothing was written to": lambda: Written(lambda x, layer: layer(x) + torch.empty(3), flat()),
    "weights are not finite": lambda: Written(lambda x, layer: layer(x) / 0.0, flat()),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_model_that_cannot_be_followed_is_refused_before_any_image_is_bounded(reason):
    torch.manual_seed(0)
    with pytest.raises(BadInput, match=reason) as refused:
        piecewise_linear_network(REFUSED[reason](), (1, 4, 4), torch.device("cpu"))
    assert "\n" not in str(refused.value)


def inference(x, layer):
    with torch.inference_mode():
        return layer(x)


def applied(x, layer):
    return F.linear(x, layer.weight, layer.bias)


SAME_AS_LAYERS = {
    "functions": lambda m: Written(lambda x: applied(F.relu(applied(x.reshape(len(x), -1), m[1])), m[3])),
    "in place": lambda m: Written(lambda x, one, two: two(one(x.flatten(1)).clamp_(min=0)), m[1], m[3]),
    "inference mode": lambda m: Written(inference, m),
    "twice the half": lambda m: Written(lambda x, layer: layer(x) * 0.5 + layer(x) / 2, m),
    "halves of the channels": lambda m: Written(lambda x, layer: torch.cat(layer(x).split(2, 1), 1), m),
    "dropout and identity": lambda m: nn.Sequential(nn.Identity(), m[:2], nn.Dropout(), m[2], nn.AlphaDropout(), m[3]),
    "scripted": torch.jit.script,
    "a view that is moved": lambda m: Written(lambda x, layer: layer(x.transpose(2, 3).transpose(3, 2)), m),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("form", SAME_AS_LAYERS)
def test_how_a_model_is_written_does_not_change_its_bounds(form):
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)).double()
    model = SAME_AS_LAYERS[form](plain).double()
    x, eps = torch.rand(5, 1, 4, 4).double(), torch.full((5,), 0.03).double()
    y = plain(x).argmax(1)
    bounds = [
        certified_margins(piecewise_linear_network(each, (1, 4, 4), x.device), x, y, eps) for each in (plain, model)
    ]
    torch.testing.assert_close(bounds[0], bounds[1], rtol=1e-9, atol=1e-9)


def test_a_parametrisation_and_a_hook_are_part_of_what_is_certified():
    torch.manual_seed(2)
    layer = parametrizations.weight_norm(nn.Linear(16, 3))
    layer.parametrizations.weight.original0.data *= 3
    hooked = nn.Sequential(nn.Flatten(), layer)
    layer.register_forward_hook(lambda _module, _args, answer: 2 * answer - 1)
    plain = flat()
    plain[1].weight.data, plain[1].bias.data = 2 * layer.weight.data, 2 * layer.bias.data - 1
    x = torch.rand(20, 1, 4, 4)
    y = plain(x).argmax(1)
    assert (hooked(x).argmax(1) == y).all()
    certified = [certified_eps_N(model, x, y, "0:0.5:101") for model in (hooked, plain)]
    assert (certified[0] > 0).any()
    np.testing.assert_array_equal(*certified)


def test_images_and_labels_out_of_range_are_refused():
    model, x, y = flat(), torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    with pytest.raises(BadInput, match="x holds pixels outside"):
        certified_eps_N(model, 2 * x, y, "0:0.1")
    with pytest.raises(BadInput, match="x holds pixels outside"):
        certified_eps_N(model, x * torch.nan, y, "0:0.1")
    with pytest.raises(BadInput, match="labels 0 to 3; the model has classes 0 to 2"):
        certified_eps_N(model, x, torch.tensor([0, 3]), "0:0.1")
    with pytest.raises(BadInput, match="cannot be followed"):
        certified_eps_N(model, torch.rand(2, 1, 5, 5), y, "0:0.1")


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, torch.autograd.detect_anomaly])
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_the_callers_context_does_not_matter(around):
    torch.manual_seed(3)
    model, x = flat(), torch.rand(4, 1, 4, 4)
    y = model(x).argmax(1)
    expected = certified_eps_N(model, x, y, "0:0.5:21")
    with around():
        np.testing.assert_array_equal(certified_eps_N(model, x, y, "0:0.5:21"), expected)


LAYOUTS = {
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "Fortran": lambda x: torch.from_numpy(np.asfortranarray(x.numpy())),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "sliced": lambda x: torch.cat([x, x])[: len(x)],
    "an array": lambda x: x.numpy(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_memory_layout_of_images_and_weights_does_not_matter(layout):
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    x = torch.rand(6, 3, 4, 4)
    y = model(x).argmax(1)
    expected = certified_eps_N(model, x, y, "0:0.1:101")
    assert (expected > 0).any()
    if layout == "channels last":
        model = model.to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(certified_eps_N(model, LAYOUTS[layout](x), y, "0:0.1:101"), expected)
