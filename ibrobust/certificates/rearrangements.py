"""Layers that move values and compute nothing."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ibrobust.certificates.forms import Form
from ibrobust.certificates.layers import Box


@dataclass(frozen=True)
class Concatenation:
    """Channels (or flat values) of several layers one after another."""

    def interval(self, *boxes: Box) -> Box:
        return torch.cat([low for low, _ in boxes], 1), torch.cat([high for _, high in boxes], 1)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        parts = torch.split(form.coefficients, [low.shape[1] for low, _ in boxes], dim=2)
        constants = [form.constant, *[torch.zeros_like(form.constant)] * (len(boxes) - 1)]
        return tuple(Form(*pair, form.window) for pair in zip(parts, constants, strict=True))

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Channels:
    """Every step-th channel (or flat value) from the first to before the last."""

    first: int
    last: int
    step: int = 1

    def interval(self, *boxes: Box) -> Box:
        chosen = slice(self.first, self.last, self.step)
        return boxes[0][0][:, chosen], boxes[0][1][:, chosen]

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        shape = form.coefficients.shape
        back = form.coefficients.new_zeros(*shape[:2], boxes[0][0].shape[1], *shape[3:])
        back[:, :, self.first : self.last : self.step] = form.coefficients
        return (replace(form, coefficients=back),)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Reshape:
    """The same values in the same order, with other axes."""

    shape: tuple[int, ...]

    def interval(self, *boxes: Box) -> Box:
        low, high = boxes[0]
        return low.reshape(len(low), *self.shape), high.reshape(len(high), *self.shape)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        low = boxes[0][0]
        form = form.whole(torch.Size([len(low), *self.shape]))
        return (replace(form, coefficients=form.coefficients.reshape(*form.coefficients.shape[:2], *low.shape[1:])),)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Permutation:
    """Other axes within a sample: axis k of the new values is axis `order[k]` of the old; 0, the batch's, stays."""

    order: tuple[int, ...]

    def interval(self, *boxes: Box) -> Box:
        return boxes[0][0].permute(self.order), boxes[0][1].permute(self.order)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        shape = boxes[0][0].shape
        form = form.whole(torch.Size([shape[axis] for axis in self.order]))
        old = [self.order.index(axis) for axis in range(1, len(self.order))]
        return (replace(form, coefficients=form.coefficients.permute(0, 1, *[axis + 1 for axis in old])),)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None
