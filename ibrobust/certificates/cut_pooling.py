"""Max-pooling written with ReLUs, so that what cuts ReLUs cuts it: max(a, b) = a + max(b − a, 0), pair by pair.

A ReLU that is on says that b is the larger, one that is off that a is. The bounds in between are of differences, which
linear bounds know better than the two values, and a line below the ReLU, whose slope can be optimised, is a mixture of
a and b. Nothing is rounded: whatever entries a model's pooling compares, the larger one is a value that was there.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ibrobust.certificates.forms import Form
from ibrobust.certificates.layers import Box, MaxPool, ReLU, Sum
from ibrobust.certificates.linear_bounds import Network, Step


@dataclass(frozen=True)
class WindowEntry:
    """One entry of every window of a max-pool, as an image of the pool's size; padding is 0."""

    pool: MaxPool
    row: int
    column: int

    def interval(self, *boxes: Box) -> Box:
        (low, high), (down, right) = boxes[0], self.pool.padding
        padded = (torch.nn.functional.pad(bound, (right, right, down, down)) for bound in (low, high))
        low, high = (self.pool.entry(bound, self.row, self.column) for bound in padded)
        return low, high

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        shape, (down, right), window = boxes[0][0].shape, self.pool.padding, form.window
        rows, columns = shape[2:]
        if window is None:
            back = form.coefficients.new_zeros(*form.coefficients.shape[:3], rows + 2 * down, columns + 2 * right)
            self.pool.entry(back, self.row, self.column).copy_(form.coefficients)
            return (replace(form, coefficients=back[..., down : down + rows, right : right + columns]),)
        window = window.widened(self.pool.size, self.pool.stride, self.pool.padding)
        back = form.coefficients.new_zeros(*form.coefficients.shape[:3], *window.size)
        self.pool.entry(back, self.row, self.column).copy_(form.coefficients)
        if self.pool.padding != (0, 0):
            inside = window.patches(back.new_ones(1, 1, rows, columns))
            back = (back.view(shape[0], -1, *back.shape[1:]) * inside[:, None]).flatten(0, 1)
        return (Form(back, form.constant, window),)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Larger:
    """The larger of two values: one, the other, and max(other − one, 0), which is a value of its own."""

    def interval(self, *boxes: Box) -> Box:
        (low, high), (other_low, other_high), (rise_low, rise_high) = boxes
        least = torch.maximum(torch.maximum(low, other_low), low + rise_low)
        return least, torch.minimum(torch.maximum(high, other_high), high + rise_high)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:  # noqa: ARG002
        nothing = torch.zeros_like(form.constant)
        unused = Form(torch.zeros_like(form.coefficients), nothing, form.window)
        return form, unused, Form(form.coefficients, nothing, form.window)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None


def with_pooling_cut(network: Network) -> Network:
    """The same network with its max-pooling written with ReLUs.

    Pooling with padding stays as it is unless ReLUs alone look at what it computes: for them padding may as well be 0.
    """
    steps: list[Step] = []
    numbers = {0: 0}

    def add(step: Step) -> int:
        steps.append(step)
        return len(steps)

    for value, step in enumerate(network, 1):
        inputs = tuple(numbers[source] for source in step.inputs)
        layer = step.layer
        if isinstance(layer, MaxPool) and (layer.padding == (0, 0) or _only_for_relus(network, value)):
            found = [add(Step(WindowEntry(layer, *entry), inputs)) for entry in layer.entries]
            while len(found) > 1:
                pairs = [
                    add(Step(Larger(), (one, other, add(Step(ReLU(), (add(Step(Sum(-1.0), (other, one))),))))))
                    for one, other in zip(found[::2], found[1::2], strict=False)
                ]
                found = pairs + found[2 * len(pairs) :]
            steps[-1] = replace(steps[-1], shape=step.shape)
            numbers[value] = found[0]
        else:
            numbers[value] = add(replace(step, inputs=inputs))
    return tuple(steps)


def _only_for_relus(network: Network, value: int) -> bool:
    looking = [step for step in network if value in step.inputs]
    return bool(looking) and all(isinstance(step.layer, ReLU) for step in looking)
