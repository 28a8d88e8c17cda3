"""ReLU and its relatives: everything is put together from max(x, 0)."""

import torch
from torch import Tensor

from ibrobust.certificates.layers import ReLU, Scale, Sum
from ibrobust.certificates.operations.arguments import broadcast, only_value
from ibrobust.certificates.steps import NoBounds, Steps
from ibrobust.certificates.tracing import Operation, Value


def relu(steps: Steps, operation: Operation) -> int:
    if operation.name == "threshold" and (operation.arguments["threshold"], operation.arguments["value"]) != (0, 0):
        raise NoBounds("only at 0")
    return steps.add(ReLU(), operation, only_value(operation))


def clipped(steps: Steps, operation: Operation) -> int:
    """low + max(x − low, 0) − max(x − high, 0)."""
    source, arguments = only_value(operation), operation.arguments
    low, high = (arguments.get(key, arguments.get(f"{key}_val")) for key in ("min", "max"))
    if isinstance(low, Tensor | Value) or isinstance(high, Tensor | Value) or low is None:
        raise NoBounds("only at a number from below, or at two")
    if low == 0 and high is None:
        return steps.add(ReLU(), operation, source)
    if high is not None and high < low:
        raise NoBounds("its limits are the wrong way round")
    start = _as_computed(low, operation)
    above = _above(steps, operation, source, start)
    if high is not None:
        beyond = _above(steps, operation, source, _as_computed(high, operation))
        above = steps.join(Sum(-1.0), operation, above, beyond, exact=True)
    return steps.join(_shift(steps, operation, start), operation, above, exact=True)


def _as_computed(limit: float, operation: Operation) -> float:
    return float(torch.tensor(limit, dtype=operation.dtype))


def _above(steps: Steps, operation: Operation, source: int, limit: float) -> int:
    """max(x − limit, 0)."""
    shifted = steps.join(_shift(steps, operation, -limit), operation, steps.numbers[source], exact=True)
    return steps.join(ReLU(), operation, shifted)


def _shift(steps: Steps, operation: Operation, number: float) -> Scale:
    bias = broadcast(number, operation.shape).to(steps.device)
    return Scale(torch.ones_like(bias), bias, bias.abs(), 0)


def leaky_relu(steps: Steps, operation: Operation) -> int:
    """slope · x + (1 − slope) · max(x, 0)."""
    source, slope = only_value(operation), float(operation.arguments["negative_slope"])
    scale = broadcast(slope, steps.shape(source)).to(steps.device)
    part = steps.add(Scale(scale, 0 * scale, 0 * scale, 3), operation, source)
    return steps.join(Sum(1 - slope), operation, part, steps.add(ReLU(), operation, source))
