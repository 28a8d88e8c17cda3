"""An operation's arguments: which depend on the images, and which are constants that all samples share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ibrobust.certificates.forms import Pair
from ibrobust.certificates.steps import NoBounds, Steps
from ibrobust.certificates.tracing import Operation, Value


def only_value(operation: Operation) -> int:
    """The number of the value that an operation is applied to."""
    return value_number(operation.arguments["input"] if "input" in operation.arguments else operation.arguments["self"])


def value_number(argument: Any) -> int:
    """The number of a value that depends on the images."""
    if not isinstance(argument, Value):
        raise NoBounds("what it is applied to does not depend on the images")
    return argument.number


def image_number(steps: Steps, argument: Any) -> int:
    """The number of a value that is images."""
    number = value_number(argument)
    if len(steps.shape(number)) != 4:
        raise NoBounds("only on images, with four axes")
    return number


def constant_of(argument: Any) -> Tensor:
    """A tensor that does not depend on the images, in float64."""
    if not isinstance(argument, Tensor):
        raise NoBounds("its weights depend on the images")
    if type(argument) not in (Tensor, Parameter) or argument.layout != torch.strided or argument.is_complex():
        raise NoBounds("its weights are no plain tensor of real numbers")
    return argument.detach().double()


def broadcast(constant: Any, shape: tuple[int, ...]) -> Tensor:
    """A constant with the number of axes of a value, and with one row for all samples."""
    if isinstance(constant, bool | int | float):
        constant = torch.tensor(float(constant), dtype=torch.float64)
    numbers = constant_of(constant)
    numbers = numbers.view(*[1] * (len(shape) - numbers.ndim), *numbers.shape)
    if numbers.ndim != len(shape) or numbers.shape[0] != 1:
        raise NoBounds("a constant of its own for each sample of a batch")
    return numbers


def bias_of(argument: Any, weight: Tensor) -> Tensor:
    """A number for each output of a weight; 0 where there is no bias."""
    outputs = weight.shape[0]
    if argument is None:
        return weight.new_zeros(outputs)
    bias = constant_of(argument)
    if bias.shape[:-1].numel() != 1:
        raise NoBounds("a constant of its own for each sample of a batch")
    return bias.flatten().expand(outputs).contiguous()


def pair(numbers: int | Sequence[int]) -> Pair:
    """A number for rows and one for columns."""
    listed = [numbers] if isinstance(numbers, int) else list(numbers)
    return listed[0], listed[-1]
