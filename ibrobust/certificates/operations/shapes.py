"""What moves values and computes nothing."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.certificates.layers import Resampling
from ibrobust.certificates.operations.arguments import image_number, only_value, value_number
from ibrobust.certificates.operations.pooling import equal_weights
from ibrobust.certificates.rearrangements import Channels, Concatenation, Permutation, Reshape
from ibrobust.certificates.steps import NoBounds, Steps
from ibrobust.certificates.tracing import Operation


def alias(steps: Steps, operation: Operation) -> int:
    """The same numbers, wherever they lie."""
    source = only_value(operation)
    if operation.shape != steps.shape(source):
        raise NoBounds("it changes the shape")
    if operation.arguments.get("train"):
        raise NoBounds("it is in training mode")
    if operation.dtype == torch.float32 != steps.dtype(source):
        raise NoBounds("it rounds to float32")
    return steps.numbers[source]


def reshape(steps: Steps, operation: Operation) -> int:
    """Axes within a sample: both first axes are the batch's, so that row-major order keeps samples apart."""
    source = only_value(operation)
    before, after = steps.shape(source), operation.shape
    if "dtype" in operation.arguments or math.prod(before) != math.prod(after):
        raise NoBounds("it does not keep the values")
    return steps.add(Reshape(after[1:]), operation, source)


def permutation(steps: Steps, operation: Operation) -> int:
    """Axes in another order, the batch's first."""
    source, arguments = only_value(operation), operation.arguments
    axes = len(steps.shape(source))
    order = list(range(axes))
    if operation.name == "permute":
        order = [axis % axes for axis in arguments["dims"]]
    else:
        one, two = arguments["dim0"] % axes, arguments["dim1"] % axes
        order[one], order[two] = two, one
    if order[0] != 0:
        raise NoBounds("it mixes the samples of a batch")
    return steps.add(Permutation(tuple(order)), operation, source)


def concatenation(steps: Steps, operation: Operation) -> int:
    sources = [value_number(part) for part in operation.arguments["tensors"]]
    if operation.arguments["dim"] % len(operation.shape) != 1:
        raise NoBounds("only of channels")
    return steps.add(Concatenation(), operation, *sources)


def split(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    source = value_number(arguments["self"])
    channels = steps.shape(source)[1]
    sizes = arguments["split_sizes"] if "split_sizes" in arguments else arguments["split_size"]
    if arguments["dim"] % len(operation.shape) != 1:
        raise NoBounds("only of channels")
    first = sum(sizes[: operation.output]) if isinstance(sizes, Sequence) else sizes * operation.output
    return steps.add(Channels(first, min(first + operation.shape[1], channels)), operation, source)


def channels(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    source = value_number(arguments["self"])
    shape = steps.shape(source)
    axis = arguments["dim"] % len(shape)
    chosen = range(shape[axis])[slice(arguments["start"], arguments["end"], arguments["step"])]
    if chosen == range(shape[axis]):
        return steps.numbers[source]
    if len(shape) == 4 and axis > 1:
        rows, columns = (chosen if axis == each else range(shape[each]) for each in (2, 3))
        return _chosen(steps, operation, rows, columns)
    if axis != 1:
        raise NoBounds("only of channels, rows and columns")
    return steps.add(Channels(chosen.start, chosen.stop, chosen.step), operation, source)


def zero_padding(steps: Steps, operation: Operation) -> int:
    pad: list[int] = operation.arguments["pad"]
    source = image_number(steps, operation.arguments["self"])
    if any(pad[4:]) or operation.arguments["value"] != 0:
        raise NoBounds("only zeros, and only around images")
    left, right, top, bottom = [*pad, 0, 0][:4]
    if (left, top) == (right, bottom) and min(left, top) >= 0:
        layer = equal_weights(steps, steps.shape(source)[1], (1, 1), 1.0, padding=(top, left))
        return steps.join(layer, operation, steps.numbers[source], exact=True)
    height, width = steps.shape(source)[2:]
    return _chosen(steps, operation, range(-top, height + bottom), range(-left, width + right))


def repeating_padding(steps: Steps, operation: Operation) -> int:
    """Pixels of the image around it: mirrored, or those of its edge."""
    height, width = steps.shape(image_number(steps, operation.arguments["self"]))[2:]
    left, right, top, bottom = operation.arguments["padding"]
    inside = _mirrored if "reflection" in operation.name else _nearest
    rows = [inside(row, height) for row in range(-top, height + bottom)]
    return _chosen(steps, operation, rows, [inside(column, width) for column in range(-left, width + right)])


def _mirrored(place: int, length: int) -> int:
    return min(abs(place), 2 * (length - 1) - abs(place))


def _nearest(place: int, length: int) -> int:
    return min(max(place, 0), length - 1)


def flip(steps: Steps, operation: Operation) -> int:
    height, width = steps.shape(image_number(steps, operation.arguments["self"]))[2:]
    axes = {axis % 4 for axis in operation.arguments["dims"]}
    if not axes <= {2, 3}:
        raise NoBounds("only of rows and columns")
    rows, columns = range(height), range(width)
    return _chosen(steps, operation, rows[::-1] if 2 in axes else rows, columns[::-1] if 3 in axes else columns)


def _chosen(steps: Steps, operation: Operation, rows: Sequence[int], columns: Sequence[int]) -> int:
    """Images made of some rows and columns of the old ones; 0 where there are none."""
    source = image_number(steps, operation.arguments["self"])
    height, width = steps.shape(source)[2:]
    layer = Resampling(_ones_at(rows, height).to(steps.device), _ones_at(columns, width).to(steps.device))
    return steps.join(layer, operation, steps.numbers[source], exact=True)


def _ones_at(places: Sequence[int], length: int) -> Float[Tensor, "new old"]:
    return torch.tensor([[float(old == place) for old in range(length)] for place in places], dtype=torch.float64)
