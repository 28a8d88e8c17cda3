"""Radii within which no L∞ perturbation can change a piecewise-linear network's prediction.

A lower bound on every attack's answer: [certified, attacked] holds the true radius, and an attack that succeeds
at a certified radius is a bug, in the attack or here.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from torch import Tensor, nn

from ibrobust.attacks.norms import BALL_TOLERANCE
from ibrobust.certificates import linear_bounds
from ibrobust.certificates.linear_bounds import Layer
from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.stochastic import Dropout
from ibrobust.robustness.radii import parse_radii
from ibrobust.robustness.search import bisect
from ibrobust.types import Images, Labels, PerSample

LOGIT_SLACK = 1e-5
"""A margin counts as positive only above this share of the largest logit's absolute value: attacks are scored in
float32, whose rounding of a logit (measured on trained digits networks: at most 6e-7 of the largest) could turn a
smaller margin. The bounds' own rounding, in float64, is far below it."""


def certified_eps_N(
    model: nn.Module,
    x: Num[Tensor, "batch channels height width"],
    y: Labels,
    radii: str | Sequence[float],
    *,
    batch_size: int = 4,
    progress: Callable[[int], object] = lambda _done: None,
) -> NDArray[np.float32]:
    """Per sample the largest of the radii at which no L∞ perturbation inside [0, 1] changes the prediction from y.

    0 where none is certified, so that a sample's smallest breaking radius is above its certified radius unless the
    clean prediction is already wrong, when both are 0. The mean path is certified: latent noise is off. Bounds are
    computed in float64 on a ball widened by the tolerance that attacks are checked with.

    Args:
        model: a `Bottleneck` or `nn.Sequential` of linear, convolution, ReLU, max- and average-pooling,
            batch-normalisation, flattening and dropout layers; taken as in evaluation.
        x, y: images, float in [0, 1] or uint8, and labels.
        radii: as in `breaking_radii`.
        batch_size: samples bounded together; changes speed and memory only.
        progress: told the number of samples done.

    Raises:
        BadInput: the model has a layer without bounds, or computes something other than its layers one by one.
    """
    positive_radii = torch.tensor([radius for radius in parse_radii(radii) if radius > 0], dtype=torch.float32)
    layers = piecewise_linear_layers(model)
    certified = []
    for start in range(0, len(x), batch_size):
        images, labels = as_images(x[start : start + batch_size]), y[start : start + batch_size]
        _check_same_function(model, layers, images)
        certified.append(_certified_radii(layers, images.to(torch.float64), labels, positive_radii.to(x.device)))
        progress(start + len(images))
    result: NDArray[np.float32] = torch.cat(certified).cpu().numpy()
    return result


def certified_margins(layers: Sequence[Layer], x: Images, y: Labels, eps: PerSample) -> Float[Tensor, "batch classes"]:
    """Lower bounds of logit y − logit j over the L∞ ball of each sample's radius, cut with [0, 1]; 0 at j = y.

    Monotone only up to the choice of each ReLU's lower line, which depends on the radius; the ball at a radius
    holds every smaller ball, so a positive bound certifies all smaller radii.
    """
    eps = eps.to(x.dtype).view(-1, 1, 1, 1)
    unit = torch.eye(_outputs(layers), dtype=x.dtype, device=x.device)
    return linear_bounds.lower_bounds(layers, (x - eps).clamp(min=0), (x + eps).clamp(max=1), unit[y][:, None] - unit)


def _certified_radii(layers: Sequence[Layer], x: Images, y: Labels, radii: Float[Tensor, " radii"]) -> PerSample:
    logits = _logits(layers, x)
    slack = LOGIT_SLACK * logits.abs().amax(1)

    def not_certified(samples: Tensor, index: Tensor) -> Tensor:
        eps = radii[index].to(x.dtype) + BALL_TOLERANCE
        margins = certified_margins(layers, x[samples], y[samples], eps).scatter(1, y[samples][:, None], torch.inf)
        return ~(margins.amin(1) > slack[samples])

    first_not_certified = bisect(not_certified, torch.full_like(y, len(radii)), torch.zeros_like(y))
    return torch.cat([radii.new_zeros(1), radii])[first_not_certified]


def piecewise_linear_layers(model: nn.Module) -> list[Layer]:
    """The model's mean path in evaluation as layers with bounds, in float64.

    Raises:
        BadInput: a layer has none.
    """
    if isinstance(model, Bottleneck):
        return _bottleneck(model)
    if isinstance(model, nn.Sequential):
        return _pooled_first([layer for module in model for layer in piecewise_linear_layers(module)])
    if isinstance(model, Dropout | nn.Dropout | nn.Dropout2d | nn.Identity):
        return []
    for kind, bounded in _BOUNDED.items():
        if isinstance(model, kind):
            return [bounded(model)]
    known = ", ".join(kind.__name__ for kind in _BOUNDED)
    raise BadInput(f"no certificate for a model with a layer {type(model).__name__}; choose from Sequential, {known}")


def _pooled_first(layers: list[Layer]) -> list[Layer]:
    """ReLU and max-pooling commute: pooled first, there are fewer ReLUs to bound."""
    ordered: list[Layer] = []
    for layer in layers:
        commutes = isinstance(layer, linear_bounds.MaxPool) and ordered and isinstance(ordered[-1], linear_bounds.ReLU)
        ordered.insert(len(ordered) - bool(commutes), layer)
    return ordered


def _bottleneck(model: Bottleneck) -> list[Layer]:
    if model.categorical:
        raise BadInput("no certificate for a categorical latent: its mean path has a softmax in it")
    mean, std = (
        buffer.flatten().double() for name, buffer in model.named_buffers() if name in ("pixel_mean", "pixel_std")
    )
    encoder = piecewise_linear_layers(model.encoder)
    if model.noise_std is None:
        # The encoder's second half is the noise's ρ, which the mean path does not read.
        features = _outputs(encoder)
        encoder.append(
            linear_bounds.linear(torch.eye(features).to(mean)[: features // 2], mean.new_zeros(features // 2))
        )
    return [linear_bounds.scale(1 / std, -mean / std), *encoder, *piecewise_linear_layers(model.decoder)]


def _outputs(layers: Sequence[Layer]) -> int:
    last = layers[-1] if layers else None
    if not isinstance(last, linear_bounds.Affine):
        raise BadInput("no certificate for a network whose last layer is not linear")
    return len(last.bias)


def _linear(module: nn.Linear) -> Layer:
    return linear_bounds.linear(module.weight.detach().double(), _bias(module, module.out_features))


def _convolution(module: nn.Conv2d) -> Layer:
    if module.padding_mode != "zeros" or isinstance(module.padding, str) or _both(module.dilation) != (1, 1):
        raise BadInput(f"no certificate for {module}: only zero padding by numbers, and no dilation")
    weight, bias = module.weight.detach().double(), _bias(module, module.out_channels)
    return linear_bounds.convolution(weight, bias, _both(module.stride), _both(module.padding), module.groups)


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d) -> Layer:
    if module.running_mean is None or module.running_var is None:
        raise BadInput(f"no certificate for {module}: it normalises with the batch's own statistics")
    weight = (module.running_var.double() + module.eps).rsqrt()
    bias = -module.running_mean.double() * weight
    if module.affine:
        gain = module.weight.detach().double()
        weight, bias = weight * gain, bias * gain + module.bias.detach().double()
    return linear_bounds.scale(weight, bias)


def _max_pool(module: nn.MaxPool2d) -> Layer:
    if _both(module.padding) != (0, 0) or _both(module.dilation) != (1, 1) or module.ceil_mode:
        raise BadInput(f"no certificate for {module}: no padding, no dilation, no ceil mode")
    return linear_bounds.MaxPool(_both(module.kernel_size), _both(module.stride or module.kernel_size))


def _average_pool(module: nn.AvgPool2d) -> Layer:
    if _both(module.padding) != (0, 0) or module.ceil_mode or module.divisor_override:
        raise BadInput(f"no certificate for {module}: no padding, no ceil mode, no other divisor")
    return linear_bounds.AveragePool(_both(module.kernel_size), _both(module.stride or module.kernel_size))


def _flatten(module: nn.Flatten) -> Layer:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise BadInput(f"no certificate for {module}: it flattens all but the batch")
    return linear_bounds.Flatten()


_BOUNDED: dict[type[nn.Module], Callable[..., Layer]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda _module: linear_bounds.ReLU(),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.Flatten: _flatten,
}


def _check_same_function(model: nn.Module, layers: Sequence[Layer], x: Images) -> None:
    """A model that does more than its layers one after another must not get their certificate."""
    with frozen(model), torch.no_grad():
        expected = model(x)
    found = _logits(layers, x.double())
    if found.shape != expected.shape or not torch.allclose(found.float(), expected, rtol=1e-4, atol=1e-4):
        raise BadInput(
            f"no certificate for {type(model).__name__}: it computes something other than its layers in turn"
        )


def _logits(layers: Sequence[Layer], x: Images) -> Tensor:
    for layer in layers:
        x, _ = layer.interval(x, x)
    return x


def _bias(module: nn.Linear | nn.Conv2d, outputs: int) -> Tensor:
    return module.weight.new_zeros(outputs).double() if module.bias is None else module.bias.detach().double()


def _both(number: int | Sequence[int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else (number[0], number[1])
