"""Matrix products, convolutions, batch normalisation and arithmetic."""

from typing import Any

import torch

from ibrobust.certificates.layers import Convolution, Linear, Scale, Sum
from ibrobust.certificates.operations.arguments import (
    bias_of,
    broadcast,
    constant_of,
    image_number,
    only_value,
    pair,
    value_number,
)
from ibrobust.certificates.steps import NoBounds, Steps
from ibrobust.certificates.tracing import Operation, Value


def linear(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    if operation.name == "addmm":
        source, matrix, bias = arguments["mat1"], arguments["mat2"], arguments["self"]
        if (arguments["beta"], arguments["alpha"]) != (1, 1):
            raise NoBounds("its parts are weighted")
        weight = constant_of(matrix).T
    elif operation.name == "mm":
        source, weight, bias = arguments["self"], constant_of(arguments["mat2"]).T, None
    else:
        source, weight, bias = arguments["input"], constant_of(arguments["weight"]), arguments["bias"]
    if len(steps.shape(value_number(source))) != 2 or weight.ndim != 2:
        raise NoBounds("it is applied to rows of images, not to flat values")
    return steps.add(Linear(weight.contiguous(), bias_of(bias, weight)), operation, value_number(source))


def convolution(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    weight = constant_of(arguments["weight"])
    if arguments.get("transposed") or weight.ndim != 4:
        raise NoBounds("only convolutions of images, and none that is transposed")
    layer = Convolution(
        weight.contiguous(),
        bias_of(arguments["bias"], weight),
        pair(arguments["stride"]),
        pair(arguments["padding"]),
        pair(arguments["dilation"]),
        arguments["groups"],
    )
    return steps.add(layer, operation, image_number(steps, arguments["input"]))


def batch_norm(steps: Steps, operation: Operation) -> int:
    arguments = operation.arguments
    mean, variance = arguments.get("running_mean"), arguments.get("running_var")
    if arguments.get("training") or mean is None or variance is None:
        raise NoBounds("it normalises with the batch's own statistics")
    source = value_number(arguments["input"])
    eps = arguments["eps"] if "eps" in arguments else arguments["epsilon"]
    weight = (constant_of(variance) + eps).rsqrt()
    if arguments["weight"] is not None:
        weight = weight * constant_of(arguments["weight"])
    shift = constant_of(mean) * weight
    bias = torch.zeros_like(shift) if arguments["bias"] is None else constant_of(arguments["bias"])
    shape = (1, -1, *[1] * (len(steps.shape(source)) - 2))
    weight, bias, parts = (number.view(shape) for number in (weight, bias - shift, bias.abs() + shift.abs()))
    # A root, a quotient, two products, two sums: each kernel does them in an order of its own.
    return steps.add(Scale(weight, bias, parts, 12), operation, source)


def arithmetic(steps: Steps, operation: Operation) -> int:
    """A sum or difference of two values; a sum, difference, product or quotient of a value and a constant."""
    one, two = operation.arguments["self"], operation.arguments["other"]
    if operation.arguments.get("rounding_mode") is not None:
        raise NoBounds("it rounds")
    sign = -1.0 if operation.name in ("sub", "rsub") else 1.0
    factor = sign * float(operation.arguments.get("alpha", 1))
    if operation.name == "rsub":
        one, two = two, one
    if not (isinstance(one, Value) and isinstance(two, Value)):
        return _with_a_constant(steps, operation, one, two, factor)
    if operation.name not in ("add", "sub", "rsub"):
        raise NoBounds("both of its operands depend on the images")
    if steps.shape(one.number) != steps.shape(two.number):
        raise NoBounds("its operands have different shapes")
    return steps.add(Sum(factor), operation, one.number, two.number)


def _with_a_constant(steps: Steps, operation: Operation, one: Any, two: Any, factor: float) -> int:
    source = value_number(one if isinstance(one, Value) else two)
    shape = steps.shape(source)
    constant = broadcast(two if isinstance(one, Value) else one, shape).to(steps.device)
    ones, zeros = torch.ones_like(constant), torch.zeros_like(constant)
    if operation.name == "mul":
        weight, bias = constant, zeros
    elif operation.name == "div":
        if not isinstance(one, Value):
            raise NoBounds("it divides by what depends on the images")
        weight, bias = 1 / constant, zeros
    elif isinstance(one, Value):
        weight, bias = ones, factor * constant
    else:
        weight, bias = factor * ones, constant
    # Numbers are rounded to the images' type before the operation.
    return steps.add(Scale(weight, bias, bias.abs(), 3), operation, source)


def negative(steps: Steps, operation: Operation) -> int:
    source = only_value(operation)
    one = broadcast(1.0, steps.shape(source)).to(steps.device)
    return steps.add(Scale(-one, 0 * one, 0 * one, 0), operation, source)
