"""A recorded model as the steps of a network with bounds, built one operation after another."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from ibrobust.certificates.layers import Convolution, Layer, Linear, ReLU
from ibrobust.certificates.linear_bounds import Network, Step
from ibrobust.certificates.tracing import Operation, Trace

_UNITS = {torch.float32: 2.0**-24 * 1.001, torch.float64: 2.0**-50}
"""The relative error of one rounding, with room for the bounds' own: they are computed in float64, whose error in one
operation is 2⁻⁵³."""

_BFLOAT16, _TF32 = 2.0**-7 * 1.01, 2.0**-9 * 1.01
"""The relative error of a product whose factors were cut to the 8 or 11 bits of these types."""


class NoBounds(Exception):
    """An operation is none of those that have bounds; says why, in a few words."""


class Steps:
    """The steps so far.

    Attributes:
        numbers: for each value of the trace that has been reached, the network's value that equals it.
    """

    def __init__(self, trace: Trace, device: torch.device) -> None:
        self.numbers = {0: 0}
        self.device = device
        self._trace = trace
        self._steps: list[Step] = []
        self._operand_error = _operand_error(device)

    def shape(self, source: int) -> tuple[int, ...]:
        """The shape of a value of the trace, the batch's axis first."""
        return self._trace.of(source)[0]

    def dtype(self, source: int) -> torch.dtype:
        """The type of a value of the trace."""
        return self._trace.of(source)[1]

    def add(self, layer: Layer, operation: Operation, *sources: int) -> int:
        """A layer applied to values of the trace; the number of the network's value."""
        return self.join(layer, operation, *[self.numbers[source] for source in sources])

    def join(self, layer: Layer, operation: Operation, *values: int, exact: bool = False) -> int:
        """A layer applied to values of the network, as part of an operation; exact where that rounds nothing there."""
        if not all(tensor.isfinite().all() for tensor in _tensors(layer)):
            raise NoBounds("its weights are not finite")
        products = isinstance(layer, Linear | Convolution)
        unit, operand_error = 0.0 if exact else _UNITS[operation.dtype], self._operand_error if products else 0.0
        self._steps.append(Step(layer, values, None, unit, operand_error))
        return len(self._steps)

    def reached(self, number: int, operation: Operation, value: int) -> None:
        """The network's value equals that of an operation, the trace's value of this number, and has its shape."""
        self.numbers[number] = value
        if value:
            self._steps[value - 1] = replace(self._steps[value - 1], shape=operation.shape[1:])

    def relu_input(self, source: int) -> int | None:
        """What a ReLU was applied to, if the value of the trace is a ReLU's."""
        number = self.numbers[source]
        step = self._steps[number - 1] if number else None
        return step.inputs[0] if step and isinstance(step.layer, ReLU) else None

    def network(self, answer: int) -> Network:
        """The steps that a value of the trace depends on."""
        needed, number = set(), {0: 0}
        waiting = [self.numbers[answer]]
        while waiting:
            value = waiting.pop()
            if value and value not in needed:
                needed.add(value)
                waiting += self._steps[value - 1].inputs
        for value in sorted(needed):
            number[value] = len(number)
        kept = [self._steps[value - 1] for value in sorted(needed)]
        return tuple(replace(step, inputs=tuple(number[value] for value in step.inputs)) for step in kept)


def same_networks(one: Network, two: Network) -> bool:
    """Equal layers with equal numbers, joined in the same way."""
    return len(one) == len(two) and all(
        type(a.layer) is type(b.layer)
        and (a.inputs, a.shape, a.unit) == (b.inputs, b.shape, b.unit)
        and all(_equal(getattr(a.layer, f.name), getattr(b.layer, f.name)) for f in fields(a.layer))  # type: ignore[arg-type]
        for a, b in zip(one, two, strict=True)
    )


def _equal(one: object, two: object) -> bool:
    return torch.equal(one, two) if isinstance(one, Tensor) and isinstance(two, Tensor) else one == two


def _tensors(layer: Layer) -> list[Tensor]:
    return [value for value in vars(layer).values() if isinstance(value, Tensor)]


def _operand_error(device: torch.device) -> float:
    """The relative error of a product where torch may multiply float32 matrices in less than their precision."""
    try:
        precision = torch.get_float32_matmul_precision()
        convolutions = device.type == "cuda" and torch.backends.cudnn.allow_tf32
    except RuntimeError:  # Set through several of torch's interfaces at once.
        return _BFLOAT16
    if precision == "medium":
        return _BFLOAT16
    return _TF32 if convolutions or precision != "highest" else 0.0
