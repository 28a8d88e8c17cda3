"""The exact L∞ distance from an image to the nearest mistake of a small ReLU network, by mixed-integer programming."""

import functools
import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from sklearn.datasets import load_digits
from torch import Tensor, nn

Array = NDArray[np.float64]


@functools.cache
def tiny_digits(hidden: int = 8) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network with two hidden layers, trained on digits averaged to 4 × 4 pixels and moved by FGSM, and the 500
    digits that it has not seen."""
    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    x, y = nn.functional.avg_pool2d(x, 2), torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(0)
    sizes = (16, hidden, hidden, 10)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(400):
        moving = x[:1297].clone().requires_grad_()
        (uphill,) = torch.autograd.grad(nn.functional.cross_entropy(model(moving), y[:1297]), moving)
        moved = (x[:1297] + 0.08 * min(1, step / 200) * uphill.sign()).clamp(0, 1)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(moved), y[:1297]).backward()
        optimiser.step()
    optimiser.zero_grad()
    return model.eval(), x[1297:], y[1297:]


def exact_radius(model: nn.Sequential, image: Tensor, label: int, most: float) -> float:
    """The smallest radius within which another class leads or ties; inf where that is above `most`.

    Args:
        model: `Flatten`, then linear layers with a ReLU between two.
    """
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    weights = [(layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in layers]
    pixels = image.flatten().double().numpy()
    classes = len(weights[-1][1])
    return min(_towards(weights, pixels, label, target, most) for target in range(classes) if target != label)


def _towards(weights: list[tuple[Array, Array]], pixels: Array, label: int, target: int, most: float) -> float:
    """The radius towards one class. Variables: pixels, values and switches of each hidden layer, radius."""
    hidden = [len(bias) for _, bias in weights[:-1]]
    count = len(pixels) + 2 * sum(hidden) + 1
    low, high = np.clip(pixels - most, 0, 1), np.clip(pixels + most, 0, 1)
    bounds_low, bounds_high, integral = np.zeros(count), np.ones(count), np.zeros(count)
    bounds_low[: len(pixels)], bounds_high[: len(pixels)] = low, high
    rows: list[Array] = []
    least: list[float] = []

    def require(terms: dict[int, float], at_least: float) -> None:
        row = np.zeros(count)
        for place, factor in terms.items():
            row[place] += factor
        rows.append(row)
        least.append(at_least)

    for pixel, value in enumerate(pixels):
        require({pixel: -1.0, count - 1: 1.0}, -value)
        require({pixel: 1.0, count - 1: 1.0}, value)
    inputs, first = list(range(len(pixels))), len(pixels)
    for (weight, bias), width in zip(weights[:-1], hidden, strict=True):
        pre_low = np.maximum(weight, 0) @ low + np.minimum(weight, 0) @ high + bias
        pre_high = np.maximum(weight, 0) @ high + np.minimum(weight, 0) @ low + bias
        for unit in range(width):
            value, switch = first + unit, first + width + unit
            slopes = dict(zip(inputs, weight[unit], strict=True))
            bounds_high[value], integral[switch] = max(pre_high[unit], 0), 1
            require({value: 1.0} | {place: -slope for place, slope in slopes.items()}, bias[unit])
            # value ≤ pre − low (1 − switch), and value ≤ high · switch
            floor, ceiling = min(pre_low[unit], 0), max(pre_high[unit], 0)
            require({value: -1.0, switch: floor} | slopes, floor - bias[unit])
            require({value: -1.0, switch: ceiling}, 0.0)
        inputs, first = list(range(first, first + width)), first + 2 * width
        low, high = np.maximum(pre_low, 0), np.maximum(pre_high, 0)
    weight, bias = weights[-1]
    require(dict(zip(inputs, weight[target] - weight[label], strict=True)), bias[label] - bias[target])
    bounds_high[-1] = most
    goal = np.zeros(count)
    goal[-1] = 1
    found = milp(
        goal,
        integrality=integral,
        bounds=Bounds(bounds_low, bounds_high),
        constraints=LinearConstraint(np.stack(rows), lb=np.array(least)),
        options={"mip_rel_gap": 0},
    )
    return float(found.fun) if found.success else np.inf
