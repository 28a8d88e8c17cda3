"""Layers that compute: linear ones are bounded exactly, ReLU and max-pooling by a linear function on each side.

Each layer is applied to the values of one or several earlier ones. `roundings` is what an error analysis needs to know
of its floating-point arithmetic (Higham 2002, §3.1): a sum of n products is off by at most γ(n) · Σ |products|.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from ibrobust.certificates.forms import Form, Pair

Box = tuple[Tensor, Tensor]
"""Lower and upper bounds of a layer's values."""


@runtime_checkable
class Layer(Protocol):
    def interval(self, *boxes: Box) -> Box:
        """Bounds of the output where the inputs are in their boxes."""

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        """A form of the output as one of each input, valid where the inputs are in their boxes; the constant goes to
        the first."""

    def roundings(self, *largest: Tensor) -> tuple[int, Tensor] | None:
        """How many roundings lie one after another between the inputs and an output, and the sum of the absolute values
        that they act on, for inputs of at most these absolute values; None where the arithmetic is exact."""


@dataclass(frozen=True)
class Linear:
    """weight · x + bias of flat values."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"]

    def interval(self, *boxes: Box) -> Box:
        return _affine_box(boxes[0], self.weight, self.bias, F.linear)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:  # noqa: ARG002
        return (replace(form.shifted(self.bias), coefficients=form.coefficients @ self.weight),)

    def roundings(self, *largest: Tensor) -> tuple[int, Tensor]:
        return self.weight.shape[1] + 1, F.linear(largest[0], self.weight.abs(), self.bias.abs())


@dataclass(frozen=True)
class Convolution:
    """A convolution with zero padding."""

    weight: Float[Tensor, "out in_per_group h w"]
    bias: Float[Tensor, " out"]
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def interval(self, *boxes: Box) -> Box:
        return _affine_box(boxes[0], self.weight, self.bias, self._applied)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        return (self._transposed(form.shifted(self.bias), boxes[0][0].shape),)

    def roundings(self, *largest: Tensor) -> tuple[int, Tensor]:
        return self.weight[0].numel() + 1, self._applied(largest[0], self.weight.abs(), self.bias.abs())

    def _applied(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def _transposed(self, form: Form, shape: torch.Size) -> Form:
        flat = form.coefficients.flatten(0, 1)
        how = {"stride": self.stride, "dilation": self.dilation, "groups": self.groups}
        if form.window is None:
            size = [len(flat), *shape[1:]]
            back = conv2d_input(size, self.weight, flat, padding=self.padding, **how)  # type: ignore[no-untyped-call]
            return replace(form, coefficients=back.view(*form.coefficients.shape[:2], *shape[1:]))
        back = F.conv_transpose2d(flat, self.weight, **how)  # type: ignore[arg-type]
        window = form.window.widened(self._reach(), self.stride, self.padding)
        inside = window.patches(torch.ones(1, 1, *shape[2:], dtype=flat.dtype, device=flat.device))
        back = back.view(shape[0], -1, form.coefficients.shape[1], *back.shape[1:]) * inside[:, None]
        return replace(form, coefficients=back.flatten(0, 1), window=window)

    def _reach(self) -> Pair:
        """Rows and columns of the image that one output looks at, from the first to the last."""
        (down, right), (rows, columns) = self.dilation, self.weight.shape[2:]
        return (rows - 1) * down + 1, (columns - 1) * right + 1


@dataclass(frozen=True)
class Scale:
    """weight · x + bias, entry by entry: normalisation in evaluation, or a constant that is added.

    Attributes:
        weight, bias: of the layer's number of axes, of length 1 where one number serves all.
        parts: the sum of the absolute values that the bias was computed from.
        steps: roundings one after another.
    """

    weight: Tensor
    bias: Tensor
    parts: Tensor
    steps: int

    def interval(self, *boxes: Box) -> Box:
        return _affine_box(boxes[0], self.weight, self.bias, lambda x, w, b: x * w + (0 if b is None else b))

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        return (form.scaled(self.weight, self.bias, boxes[0][0].shape),)

    def roundings(self, *largest: Tensor) -> tuple[int, Tensor]:
        return self.steps, largest[0] * self.weight.abs() + self.parts


@dataclass(frozen=True)
class Sum:
    """one + factor · other."""

    factor: float = 1.0

    def interval(self, *boxes: Box) -> Box:
        (low, high), (other_low, other_high) = boxes
        ends = self.factor * other_low, self.factor * other_high
        return low + torch.minimum(*ends), high + torch.maximum(*ends)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:  # noqa: ARG002
        return form, Form(self.factor * form.coefficients, torch.zeros_like(form.constant), form.window)

    def roundings(self, *largest: Tensor) -> tuple[int, Tensor]:
        return 4, largest[0] + abs(self.factor) * largest[1]


@dataclass(frozen=True)
class Resampling:
    """rows · x · columnsᵀ of every channel: new pixels that are averages of old ones."""

    rows: Float[Tensor, "new_height height"]
    columns: Float[Tensor, "new_width width"]

    def interval(self, *boxes: Box) -> Box:
        # Weights of averages are not negative.
        low, high = (self.rows @ bound @ self.columns.T for bound in boxes[0])
        return low, high

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        shape = boxes[0][0].shape
        form = form.whole(torch.Size([*shape[:2], len(self.rows), len(self.columns)]))
        return (replace(form, coefficients=self.rows.T @ form.coefficients @ self.columns),)

    def roundings(self, *largest: Tensor) -> tuple[int, Tensor]:
        return self.rows.shape[1] * self.columns.shape[1] + 1, self.rows @ largest[0] @ self.columns.T


@dataclass(frozen=True)
class ReLU:
    def interval(self, *boxes: Box) -> Box:
        low, high = boxes[0]
        return low.clamp(min=0), high.clamp(min=0)

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        return (self.relaxed(form, boxes[0]),)

    def relaxed(self, form: Form, box: Box, slopes: Tensor | None = None) -> Form:
        """max(x, 0) ≤ the chord over [low, high]; ≥ slope · x, for whatever slopes in [0, 1], which by default are 1 or
        0, whichever leaves the smaller area (CROWN-Ada)."""
        low, high = box
        ones, zeros = torch.ones_like(low), torch.zeros_like(low)
        chord = torch.where(low >= 0, ones, torch.where(high <= 0, zeros, high / (high - low).clamp(min=1e-300)))
        offset = torch.where(low < 0, -chord * low, zeros)
        usual = torch.where(high > -low, ones, zeros)
        undecided = usual if slopes is None else torch.where(high <= 0, zeros, slopes)
        return form.relaxed(torch.where(low >= 0, ones, undecided), chord, offset)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class MaxPool:
    """The largest entry of each window; what is padded counts as −∞."""

    size: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def interval(self, *boxes: Box) -> Box:
        low, high = (F.max_pool2d(bound, self.size, self.stride, self.padding) for bound in boxes[0])
        return low, high

    def back(self, form: Form, *boxes: Box) -> tuple[Form, ...]:
        """max ≥ the entry with the largest lower bound; ≤ that entry where no other can exceed it, else ≤ a number."""
        (top, left), (rows, columns) = self.padding, boxes[0][0].shape[2:]
        low, high = (F.pad(bound, (left, left, top, top), value=-torch.inf) for bound in boxes[0])
        lows, highs = (torch.stack([self.entry(bound, *entry) for entry in self.entries]) for bound in (low, high))
        first = lows.argmax(0, keepdim=True)
        rivals = highs.scatter(0, first, -torch.inf).amax(0)
        settled = (lows.amax(0) >= rivals).to(low.dtype)
        chosen = form.relaxed(torch.ones_like(settled), settled, highs.amax(0) * (1 - settled))
        window = form.window and form.window.widened(self.size, self.stride, self.padding)
        back = low.new_zeros(*chosen.coefficients.shape[:3], *(window.size if window else low.shape[2:]))
        for index, entry in enumerate(self.entries):
            is_first = form.here((first[0] == index).to(low.dtype))
            self.entry(back, *entry).addcmul_(chosen.coefficients, is_first)
        inside = back if window else back[..., top : top + rows, left : left + columns]
        return (Form(inside, chosen.constant, window),)

    def roundings(self, *largest: Tensor) -> None:  # noqa: ARG002
        return None

    @property
    def entries(self) -> list[Pair]:
        """The places in a window."""
        return [(i, j) for i in range(self.size[0]) for j in range(self.size[1])]

    def entry(self, images: Tensor, i: int, j: int) -> Tensor:
        """Entry (i, j) of every pooling window, as an image of the output's size."""
        (height, width), (down, right) = images.shape[-2:], self.stride
        return images[..., i : height - self.size[0] + i + 1 : down, j : width - self.size[1] + j + 1 : right]


def _affine_box(
    box: Box, weight: Tensor, bias: Tensor, apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
) -> Box:
    low, high = box
    centre = apply((low + high) / 2, weight, bias)
    spread = apply((high - low) / 2, weight.abs(), None)
    return centre - spread, centre + spread
