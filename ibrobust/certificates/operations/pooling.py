"""Pooling, and means and sums over the positions of images."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.certificates.forms import Pair
from ibrobust.certificates.layers import Convolution, MaxPool, ReLU, Resampling
from ibrobust.certificates.operations.arguments import image_number, pair
from ibrobust.certificates.rearrangements import Reshape
from ibrobust.certificates.steps import NoBounds, Steps
from ibrobust.certificates.tracing import Operation


def max_pool(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    if pair(arguments["dilation"]) != (1, 1):
        raise NoBounds("no dilation")
    size = pair(arguments["kernel_size"])
    layer = MaxPool(size, pair(arguments["stride"] or size), pair(arguments["padding"]))
    check_whole_windows(steps, operation, layer)
    return _pooled(steps, operation, layer)


def _pooled(steps: Steps, operation: Operation, layer: MaxPool) -> int:
    """ReLU and max-pooling commute: pooled first, there are fewer ReLUs to bound."""
    source = image_number(steps, operation.arguments["self"])
    if (before := steps.relu_input(source)) is None:
        return steps.add(layer, operation, source)
    return steps.join(ReLU(), operation, steps.join(layer, operation, before))


def average_pool(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    size, padding = pair(arguments["kernel_size"]), pair(arguments["padding"])
    if padding != (0, 0) and not arguments["count_include_pad"]:
        raise NoBounds("padding has to count")
    share = 1 / (arguments["divisor_override"] or math.prod(size))
    return _averaged(steps, operation, size, pair(arguments["stride"] or size), padding, share)


def _averaged(steps: Steps, operation: Operation, size: Pair, stride: Pair, padding: Pair, share: float) -> int:
    source = image_number(steps, operation.arguments["self"])
    channels = steps.shape(source)[1]
    layer = equal_weights(steps, channels, size, share, stride=stride, padding=padding)
    check_whole_windows(steps, operation, MaxPool(size, stride, padding))
    return steps.add(layer, operation, source)


def equal_weights(steps: Steps, channels: int, size: Pair, share: float, **how: Pair) -> Convolution:
    """A convolution of each channel with one weight everywhere."""
    weight = torch.full((channels, 1, *size), share, dtype=torch.float64, device=steps.device)
    return Convolution(weight, weight.new_zeros(channels), groups=channels, **how)


def check_whole_windows(steps: Steps, operation: Operation, pool: MaxPool) -> None:
    """Refuses windows beyond the padding, as `ceil_mode` may add."""
    image = steps.shape(image_number(steps, operation.arguments["self"]))[2:]
    sizes = zip(image, pool.size, pool.stride, pool.padding, strict=True)
    if operation.shape[2:] != tuple((length + 2 * pad - size) // stride + 1 for length, size, stride, pad in sizes):
        raise NoBounds("no ceil mode that adds a window")


def adaptive_pool(steps: Steps, operation: Operation) -> int:
    source = image_number(steps, operation.arguments["self"])
    (height, width), (rows, columns) = steps.shape(source)[2:], operation.shape[2:]
    if height % rows == 0 and width % columns == 0:
        size = height // rows, width // columns
        if "max" in operation.name:
            return _pooled(steps, operation, MaxPool(size, size))
        return _averaged(steps, operation, size, size, (0, 0), 1 / math.prod(size))
    if "max" in operation.name:
        raise NoBounds(f"{height} × {width} is no multiple of {rows} × {columns}")
    layer = Resampling(_averages(height, rows).to(steps.device), _averages(width, columns).to(steps.device))
    return steps.add(layer, operation, source)


def _averages(old: int, new: int) -> Float[Tensor, "new old"]:
    """Adaptive pooling along one axis: averages from ⌊i · old / new⌋ to ⌈(i + 1) · old / new⌉."""
    shares = torch.zeros(new, old, dtype=torch.float64)
    for index in range(new):
        first, last = index * old // new, -((-(index + 1) * old) // new)
        shares[index, first:last] = 1 / (last - first)
    return shares


def over_positions(steps: Steps, operation: Operation) -> int:
    """A mean or sum over the height and width of images."""
    arguments = operation.arguments
    source = image_number(steps, arguments["self"])
    shape = steps.shape(source)
    axes = sorted(axis % len(shape) for axis in arguments["dim"] or range(len(shape)))
    if axes != [2, 3] or arguments.get("dtype") not in (None, operation.dtype):
        raise NoBounds("only over the height and width of images")
    size = shape[2], shape[3]
    layer = equal_weights(steps, shape[1], size, 1 / math.prod(size) if operation.name == "mean" else 1.0)
    number = steps.join(layer, operation, steps.numbers[source])
    return number if len(operation.shape) == 4 else steps.join(Reshape((shape[1],)), operation, number)
