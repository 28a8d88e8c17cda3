"""What a piecewise-linear network can answer when its input moves in a box: interval and linear (CROWN) bounds.

A linear form of a layer's output is carried back to the input, each ReLU and max-pool replaced by the linear
function that bounds it on the interval of its input (Zhang et al. 2018). Forms of images are carried back as
patches around each pixel, so that a convolution's cost does not grow with the square of the image. Where two branches
meet, their forms are added.

What is bounded is what floating-point arithmetic makes of the network: each layer's values are taken to be off by as
much as its roundings can add up to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ibrobust.certificates.forms import Form, Window
from ibrobust.certificates.layers import Box, Layer, MaxPool, ReLU
from ibrobust.errors import BadInput

_NUMBERS = 2**20
"""Coefficients held at a time: 8 MB, about what a cache holds (16 times as many: 1.5 times slower)."""

_SMALLEST = 1e-37
"""More than what rounding to 0 takes from a float32, where subnormal numbers may be flushed."""

_LARGEST = 1e37
"""Numbers that float32 may not be able to hold; nothing is certain of what is computed from them."""


@dataclass(frozen=True)
class Step:
    """A layer applied to earlier values: value 0 is the input, value k what step k computed.

    Attributes:
        shape: of one sample's values, where it is known beforehand.
        unit: the relative error of one rounding in the model's arithmetic.
        operand_error: the relative error of a product whose factors are rounded first, as TF32 does.
    """

    layer: Layer
    inputs: tuple[int, ...]
    shape: tuple[int, ...] | None = None
    unit: float = 0.0
    operand_error: float = 0.0

    def bounds(self, boxes: Sequence[Box]) -> tuple[Box, Tensor | None]:
        """The box of the computed values, and how far rounding may have moved them.

        Raises:
            BadInput: they have another shape than those of the model.
        """
        low, high = self.layer.interval(*boxes)
        if self.shape is not None and tuple(low.shape[1:]) != self.shape:
            found = type(self.layer).__name__, tuple(low.shape[1:]), self.shape
            raise BadInput("no certificate: a {} has shape {}, the model's has {}".format(*found))
        rounding = self._rounding(boxes)
        return ((low, high) if rounding is None else (low - rounding, high + rounding)), rounding

    def _rounding(self, boxes: Sequence[Box]) -> Tensor | None:
        """How far the computed values can be from those of exact arithmetic on the same inputs."""
        found = self.layer.roundings(*[torch.maximum(low.abs(), high.abs()) for low, high in boxes])
        if found is None or not self.unit:
            return None
        count, sizes = found
        # One more than counted, for the error of this analysis itself.
        share = (count + 1) * self.unit
        error = sizes * (share / (1 - share) + self.operand_error) + count * _SMALLEST
        return torch.where(sizes < _LARGEST, error, torch.inf)


Network = tuple[Step, ...]
"""Steps in the order of computation; the last one's values are the logits."""


@dataclass(frozen=True)
class Choice:
    """What linear bounds leave open; every choice gives bounds that hold (Xu et al. 2021, Wang et al. 2021).

    Attributes:
        slopes: of the line below each entry of a ReLU, in [0, 1], by the ReLU's value; usual ones where it is not here.
        multipliers: what is added to a form's coefficients of a value; each has the sign for which entries that are
            known to be on one side of 0 can only make the form smaller.
    """

    slopes: Mapping[int, Tensor] = field(default_factory=dict)
    multipliers: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass
class Bounds:
    """The box of every value so far, and how far rounding may have moved it."""

    network: Network
    box: list[Box]
    rounding: list[Tensor | None] = field(default_factory=lambda: [None])
    tightened: set[int] = field(default_factory=set)
    choice: Choice = field(default_factory=Choice)
    seen: dict[int, Tensor] | None = None
    """Coefficients of what each ReLU computes, noted here on the way back."""

    def boxes(self, step: Step) -> list[Box]:
        return [self.box[value] for value in step.inputs]

    def add(self, step: Step) -> None:
        """Bounds of one more step's values."""
        if isinstance(step.layer, ReLU | MaxPool) and self.gains(step.inputs[0]):
            self.box[step.inputs[0]] = _tightened(self, step.inputs[0])
            self.tightened.add(step.inputs[0])
        box, rounding = step.bounds(self.boxes(step))
        self.box.append(box)
        self.rounding.append(rounding)

    def gains(self, value: int) -> bool:
        """Linear bounds are no better than intervals behind the input, a ReLU and a max-pool."""
        plain = value == 0 or isinstance(self.network[value - 1].layer, ReLU | MaxPool)
        return not plain and value not in self.tightened

    def back(self, form: Form, value: int) -> Tensor:
        """The lower bounds that a form of a value comes to."""
        return self.carried_back(form, value)[0].lower(*self.box[0])

    def carried_back(self, form: Form, value: int) -> tuple[Form, int]:
        """The form of the input, and the largest number of coefficients per output that was held on the way."""
        forms, widest = {value: form}, 0
        for current in range(value, 0, -1):
            if current not in forms:
                continue
            widest = max(widest, sum(held.coefficients[0, 0].numel() for held in forms.values()))
            here, step, rounding = forms.pop(current), self.network[current - 1], self.rounding[current]
            if current in self.choice.multipliers:
                here = here.added(self.choice.multipliers[current])
            loosened = here if rounding is None else here.loosened(rounding)
            for source, part in zip(step.inputs, self._back(loosened, current), strict=True):
                shape = self.box[source][0].shape
                forms[source] = forms[source].plus(part, shape) if source in forms else part
        return forms[0], max(widest, forms[0].coefficients[0, 0].numel())

    def _back(self, form: Form, value: int) -> tuple[Form, ...]:
        step, boxes = self.network[value - 1], self.boxes(self.network[value - 1])
        if not isinstance(step.layer, ReLU):
            return step.layer.back(form, *boxes)
        if self.seen is not None:
            self.seen[value] = form.coefficients
        return (step.layer.relaxed(form, boxes[0], self.choice.slopes.get(value)),)

    def widest(self, form: Form, value: int) -> int:
        return self.carried_back(form, value)[1]

    def first_sample(self) -> "Bounds":
        box = [(low[:1], high[:1]) for low, high in self.box]
        return Bounds(self.network, box, [None if r is None else r[:1] for r in self.rounding])


def lower_bounds(
    network: Network, low: Tensor, high: Tensor, outputs: Float[Tensor, "batch outputs classes"]
) -> Float[Tensor, "batch outputs"]:
    """Lower bounds of ⟨outputs, logits⟩ for every input between low and high, roundings of the model included.

    Linear bounds throughout: the interval of what enters a ReLU or a max-pool is found by the same pass, from the
    layers before it.
    """
    bounds = linear_bounds(network, low, high)
    return bounds.back(Form(outputs, outputs.new_zeros(outputs.shape[:2]), None), len(network))


def linear_bounds(network: Network, low: Tensor, high: Tensor) -> Bounds:
    """The box of every value for inputs between low and high, by linear bounds where those are narrower."""
    bounds = Bounds(network, [(low, high)])
    for step in network:
        bounds.add(step)
    return bounds


def logit_interval(network: Network, low: Tensor, high: Tensor) -> Box:
    """Intervals of the logits for inputs between low and high, roundings of the model included."""
    box = [(low, high)]
    for step in network:
        box.append(step.bounds([box[value] for value in step.inputs])[0])
    return box[-1]


def _tightened(bounds: Bounds, value: int) -> Box:
    """A value's box: linear bounds where they are narrower than intervals."""
    low, high = bounds.box[value]
    if low.ndim != 4:
        return _narrowed((low, high), *_extremes_of_entries(bounds, value))
    channels, positions = low.shape[1], low[0, 0].numel()
    unit = torch.eye(channels, dtype=low.dtype, device=low.device).view(1, channels, channels, 1, 1)
    first = unit[:, :1].expand(positions, -1, -1, -1, -1)
    widest = bounds.first_sample().widest(Form(first, first.new_zeros(positions, 1), Window()), value)
    below: list[Tensor] = []
    above: list[Tensor] = []
    for rows in _groups(channels, len(low) * positions * widest, low.device):
        for sign, found in ((1, below), (-1, above)):
            coefficients = (sign * unit[:, rows]).expand(len(low) * positions, -1, -1, -1, -1)
            form = Form(coefficients, coefficients.new_zeros(coefficients.shape[:2]), Window())
            found.append(sign * bounds.back(form, value))
    shape = (len(low), positions, channels)
    least, most = (torch.cat(found, 1).view(shape).transpose(1, 2).reshape(low.shape) for found in (below, above))
    return _narrowed((low, high), least, most)


def _extremes_of_entries(bounds: Bounds, value: int) -> Box:
    """Linear bounds of every entry of a layer that is no image."""
    low = bounds.box[value][0]
    entries = low[0].numel()
    unit = torch.eye(entries, dtype=low.dtype, device=low.device).view(1, entries, *low.shape[1:])
    widest = max(box[0][0].numel() for box in bounds.box)
    below: list[Tensor] = []
    above: list[Tensor] = []
    for rows in _groups(entries, len(low) * widest, low.device):
        for sign, found in ((1, below), (-1, above)):
            coefficients = (sign * unit[:, rows]).expand(len(low), *[-1] * low.ndim)
            form = Form(coefficients, coefficients.new_zeros(coefficients.shape[:2]), None)
            found.append(sign * bounds.back(form, value))
    return torch.cat(below, 1).view(low.shape), torch.cat(above, 1).view(low.shape)


def _groups(outputs: int, numbers: int, device: torch.device) -> tuple[Tensor, ...]:
    """Outputs that are bounded together, if each takes so many numbers."""
    return torch.split(torch.arange(outputs, device=device), max(1, _NUMBERS // numbers))


def _narrowed(box: Box, low: Tensor, high: Tensor) -> Box:
    return torch.maximum(box[0], low), torch.minimum(box[1], high)
