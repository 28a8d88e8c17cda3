"""What a piecewise-linear network can answer when its input moves in a box: interval and linear (CROWN) bounds.

A linear form of a layer's output is carried back to the input, each ReLU and max-pool replaced by the linear
function that bounds it on the interval of its input (Zhang et al. 2018). Forms of images are carried back as
patches around each pixel, so that a convolution's cost does not grow with the square of the image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

Pair = tuple[int, int]

_NUMBERS = 2**20
"""Coefficients held at a time: 8 MB, about what a cache holds (16 times as many: 1.5 times slower)."""


@dataclass(frozen=True)
class Window:
    """Patch p of an image starts at p · stride − padding."""

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    def widened(self, size: Pair, stride: Pair, padding: Pair) -> "Window":
        """The same patches in the image that a convolution of this size, stride and padding made this one from."""
        (height, width), (down, right), (top, left) = self.size, stride, self.padding
        return Window(
            ((height - 1) * down + size[0], (width - 1) * right + size[1]),
            (self.stride[0] * down, self.stride[1] * right),
            (top * down + padding[0], left * right + padding[1]),
        )

    def patches(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b_times_p c k l"]:
        """Every patch as an image of its own; 0 outside the image."""
        columns = F.unfold(images, self.size, padding=self.padding, stride=self.stride)
        return columns.transpose(1, 2).reshape(-1, images.shape[1], *self.size)


@dataclass(frozen=True)
class Form:
    """Lower bounds ⟨coefficients, layer⟩ + constant of some outputs, for each sample (or each patch of each).

    Attributes:
        coefficients: (samples, outputs, *layer) or (samples · patches, outputs, channels, *window).
        constant: (samples or samples · patches, outputs).
        window: where the patches lie; None where the coefficients cover the whole layer.
    """

    coefficients: Tensor
    constant: Tensor
    window: Window | None

    def here(self, values: Tensor) -> Tensor:
        """Per-sample values of the layer, laid out like the coefficients."""
        return (self.window.patches(values) if self.window else values).unsqueeze(1)

    def lower(self, low: Tensor, high: Tensor) -> Tensor:
        """The bounds' smallest values where the layer is between low and high, shape of the constant."""
        centre = _inner(self.coefficients, self.here((low + high) / 2))
        return self.constant + centre - _inner(self.coefficients.abs(), self.here((high - low) / 2))

    def relaxed(self, below: Tensor, above: Tensor, offset: Tensor) -> "Form":
        """The form where below · x ≤ layer(x) ≤ above · x + offset, entry by entry."""
        slopes = torch.where(self.coefficients > 0, self.here(below), self.here(above))
        constant = self.constant + _inner(self.coefficients.clamp(max=0), self.here(offset))
        return replace(self, coefficients=self.coefficients * slopes, constant=constant)


@runtime_checkable
class Layer(Protocol):
    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds of the output where the input is between low and high."""

    def back(self, form: Form, low: Tensor, high: Tensor) -> Form:
        """A form of the output as one of the input, valid where the input is between low and high."""


@dataclass(frozen=True)
class Affine:
    """weight · x + bias, as `apply(x, weight, bias)` says; `transposed(form, input shape)` is its transpose."""

    weight: Tensor
    bias: Tensor
    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    transposed: Callable[[Form, torch.Size], Form]

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        centre = self.apply((low + high) / 2, self.weight, self.bias)
        spread = self.apply((high - low) / 2, self.weight.abs(), None)
        return centre - spread, centre + spread

    def back(self, form: Form, low: Tensor, high: Tensor) -> Form:  # noqa: ARG002
        # Outside the image, patches hold no coefficients, so the bias may be added everywhere.
        constant = form.constant + form.coefficients.unsqueeze(-1).flatten(3).sum(3) @ self.bias
        return replace(self.transposed(form, low.shape), constant=constant)


def linear(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"]) -> Affine:
    return Affine(weight, bias, F.linear, lambda form, _shape: replace(form, coefficients=form.coefficients @ weight))


def scale(weight: Float[Tensor, " channels"], bias: Float[Tensor, " channels"]) -> Affine:
    """A number per channel to multiply with and one to add: normalisation in evaluation."""

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        shape = (-1, *[1] * (x.ndim - 2))
        return x * weight.view(shape) + (0 if bias is None else bias.view(shape))

    def transposed(form: Form, _shape: torch.Size) -> Form:
        shape = (-1, *[1] * (form.coefficients.ndim - 3))
        return replace(form, coefficients=form.coefficients * weight.view(shape))

    return Affine(weight, bias, apply, transposed)


def convolution(
    weight: Float[Tensor, "out in h w"], bias: Float[Tensor, " out"], stride: Pair, padding: Pair, groups: int
) -> Affine:
    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)

    def transposed(form: Form, shape: torch.Size) -> Form:
        flat = form.coefficients.flatten(0, 1)
        if form.window is None:
            size = [len(flat), *shape[1:]]
            back = conv2d_input(size, weight, flat, stride, padding, groups=groups)  # type: ignore[no-untyped-call]
            return replace(form, coefficients=back.view(*form.coefficients.shape[:2], *shape[1:]))
        back = F.conv_transpose2d(flat, weight, stride=stride, groups=groups)
        window = form.window.widened((weight.shape[2], weight.shape[3]), stride, padding)
        inside = window.patches(torch.ones(1, 1, *shape[2:], dtype=flat.dtype, device=flat.device))
        back = back.view(shape[0], -1, form.coefficients.shape[1], *back.shape[1:]) * inside[:, None]
        return replace(form, coefficients=back.flatten(0, 1), window=window)

    return Affine(weight, bias, apply, transposed)


@dataclass(frozen=True)
class AveragePool:
    """A convolution of each channel with equal weights."""

    size: Pair
    stride: Pair

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return F.avg_pool2d(low, self.size, self.stride), F.avg_pool2d(high, self.size, self.stride)

    def back(self, form: Form, low: Tensor, high: Tensor) -> Form:
        channels = low.shape[1]
        weight = low.new_full((channels, 1, *self.size), 1 / (self.size[0] * self.size[1]))
        same = convolution(weight, low.new_zeros(channels), self.stride, (0, 0), channels)
        return same.back(form, low, high)


@dataclass(frozen=True)
class Flatten:
    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return low.flatten(1), high.flatten(1)

    def back(self, form: Form, low: Tensor, high: Tensor) -> Form:  # noqa: ARG002
        return replace(form, coefficients=form.coefficients.view(*form.coefficients.shape[:2], *low.shape[1:]))


@dataclass(frozen=True)
class ReLU:
    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return low.clamp(min=0), high.clamp(min=0)

    def back(self, form: Form, low: Tensor, high: Tensor) -> Form:
        """max(x, 0) ≤ the chord over [low, high]; ≥ x or 0, whichever leaves the smaller area (CROWN-Ada)."""
        ones, zeros = torch.ones_like(low), torch.zeros_like(low)
        chord = torch.where(low >= 0, ones, torch.where(high <= 0, zeros, high / (high - low).clamp(min=1e-300)))
        offset = torch.where(low < 0, -chord * low, zeros)
        below = torch.where(low >= 0, ones, torch.where(high > -low, ones, zeros))
        return form.relaxed(below, chord, offset)


@dataclass(frozen=True)
class MaxPool:
    size: Pair
    stride: Pair

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return F.max_pool2d(low, self.size, self.stride), F.max_pool2d(high, self.size, self.stride)

    def back(self, form: Form, low: Tensor, high: Tensor) -> Form:
        """max ≥ the entry with the largest lower bound; ≤ that entry where no other can exceed it, else ≤ a number."""
        entries = [(i, j) for i in range(self.size[0]) for j in range(self.size[1])]
        lows, highs = (torch.stack([self._entry(bound, *entry) for entry in entries]) for bound in (low, high))
        first = lows.argmax(0, keepdim=True)
        rivals = highs.scatter(0, first, -torch.inf).amax(0)
        settled = (lows.amax(0) >= rivals).to(low.dtype)
        chosen = form.relaxed(torch.ones_like(settled), settled, highs.amax(0) * (1 - settled))
        window = form.window and form.window.widened(self.size, self.stride, (0, 0))
        back = low.new_zeros(*chosen.coefficients.shape[:3], *(window.size if window else low.shape[2:]))
        for index, entry in enumerate(entries):
            is_first = form.here((first[0] == index).to(low.dtype))
            self._entry(back, *entry).addcmul_(chosen.coefficients, is_first)
        return Form(back, chosen.constant, window)

    def _entry(self, images: Tensor, i: int, j: int) -> Tensor:
        """Entry (i, j) of every pooling window, as an image of the output's size."""
        (height, width), (down, right) = images.shape[-2:], self.stride
        return images[..., i : height - self.size[0] + i + 1 : down, j : width - self.size[1] + j + 1 : right]


def lower_bounds(
    layers: Sequence[Layer], low: Tensor, high: Tensor, outputs: Float[Tensor, "batch outputs classes"]
) -> Float[Tensor, "batch outputs"]:
    """Lower bounds of ⟨outputs, last layer⟩ for every input between low and high.

    Linear bounds throughout: the interval of what enters a ReLU or a max-pool is found by the same pass, from the
    layers before it. True bounds in exact arithmetic; in float64, up to about 1e-12 of the values involved.
    """
    box = [(low, high)]
    for index, layer in enumerate(layers):
        if index and isinstance(layer, ReLU | MaxPool) and isinstance(layers[index - 1], Affine):
            box[index] = _tightened(layers[:index], box)
        box.append(layer.interval(*box[index]))
    return _back(layers, box, Form(outputs, outputs.new_zeros(outputs.shape[:2]), None))


def _tightened(layers: Sequence[Layer], box: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Bounds of the last layer of the box: linear ones where they are narrower than its intervals."""
    low, high = box[-1]
    window = Window() if low.ndim == 4 else None
    channels, positions = low.shape[1], low[0, 0].numel()
    unit = torch.eye(channels, dtype=low.dtype, device=low.device).view(
        1, channels, *low.shape[1:2], *[1] * (low.ndim - 2)
    )
    widest = max(bound[0][0].numel() for bound in box) if window is None else _widest_patch(layers, box)
    group = max(1, _NUMBERS // (len(low) * positions * widest))
    below: list[Tensor] = []
    above: list[Tensor] = []
    for rows in torch.split(torch.arange(channels, device=low.device), group):
        for sign, bounds in ((1, below), (-1, above)):
            coefficients = (sign * unit[:, rows]).expand(len(low) * positions, -1, *unit.shape[2:])
            form = Form(coefficients, coefficients.new_zeros(coefficients.shape[:2]), window)
            bounds.append(sign * _back(layers, box, form))
    shape = (len(low), positions, channels)
    below_B, above_B = (
        torch.cat(bounds, 1).view(shape).transpose(1, 2).reshape(low.shape) for bounds in (below, above)
    )
    return torch.maximum(low, below_B), torch.minimum(high, above_B)


def _back(layers: Sequence[Layer], box: Sequence[tuple[Tensor, Tensor]], form: Form) -> Tensor:
    for layer, (low, high) in zip(reversed(layers), reversed(box[: len(layers)]), strict=True):
        form = layer.back(form, low, high)
    return form.lower(*box[0])


def _widest_patch(layers: Sequence[Layer], box: Sequence[tuple[Tensor, Tensor]]) -> int:
    """The largest number of coefficients per output on the way back from one pixel of the last layer."""
    low, high = (bound[:1] for bound in box[-1])
    unit = torch.zeros(low[0, 0].numel(), 1, low.shape[1], 1, 1, dtype=low.dtype, device=low.device)
    form, widest = Form(unit, unit.new_zeros(unit.shape[:2]), Window()), 1
    for layer, (low, high) in zip(reversed(layers), reversed(box[: len(layers)]), strict=True):
        form = layer.back(form, low[:1], high[:1])
        widest = max(widest, form.coefficients[0, 0].numel())
    return widest


def _inner(coefficients: Tensor, values: Tensor) -> Tensor:
    """⟨coefficients of each output, values⟩, summed over the layer."""
    return (coefficients.flatten(2) @ values.flatten(2).transpose(1, 2)).squeeze(2)
