"""Linear lower bounds of some outputs in terms of one layer's values, whole or as patches around each pixel."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]


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

    def grown(self, margin: Pair) -> "Window":
        """Patches that reach further by a margin on all sides."""
        (height, width), (top, left), (rows, columns) = self.size, self.padding, margin
        return replace(self, size=(height + 2 * rows, width + 2 * columns), padding=(top + rows, left + columns))

    def patches(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b_times_p c k l"]:
        """Every patch as an image of its own; 0 outside the image."""
        columns = F.unfold(images, self.size, padding=self.padding, stride=self.stride)
        return columns.transpose(1, 2).reshape(-1, images.shape[1], *self.size)


@dataclass(frozen=True)
class Form:
    """Lower bounds ⟨coefficients, layer⟩ + constant of some outputs, for each sample (or each patch of each).

    Attributes:
        coefficients: (rows, outputs, *layer) or (rows, outputs, channels, *window), where a row is a sample, or one
            patch of a sample; the patches of a sample stand together.
        constant: (rows, outputs).
        window: where the patches lie; None where the coefficients cover the whole layer.
    """

    coefficients: Tensor
    constant: Tensor
    window: Window | None

    def here(self, values: Tensor) -> Tensor:
        """Per-sample values of the layer, laid out like the coefficients."""
        return self._rows(self.window.patches(values) if self.window else values).unsqueeze(1)

    def lower(self, low: Tensor, high: Tensor) -> Tensor:
        """The bounds' smallest values where the layer is between low and high, shape of the constant."""
        centre = _inner(self.coefficients, self.here((low + high) / 2))
        return self.constant + centre - _inner(self.coefficients.abs(), self.here((high - low) / 2))

    def added(self, coefficients: Tensor) -> "Form":
        """The form with more coefficients of the layer, one set per sample for all its outputs."""
        return replace(self, coefficients=self.coefficients + self.here(coefficients))

    def relaxed(self, below: Tensor, above: Tensor, offset: Tensor) -> "Form":
        """The form where below · x ≤ layer(x) ≤ above · x + offset, entry by entry."""
        slopes = torch.where(self.coefficients > 0, self.here(below), self.here(above))
        constant = self.constant + _inner(self.coefficients.clamp(max=0), self.here(offset))
        return replace(self, coefficients=self.coefficients * slopes, constant=constant)

    def scaled(self, weight: Tensor, bias: Tensor, shape: torch.Size) -> "Form":
        """The form of x where a layer of (samples, …) values is weight · x + bias, entry by entry; both with the
        layer's number of axes, of length 1 where one number serves all."""
        constant = self.constant + _inner(self.coefficients, self._everywhere(bias, shape))
        return replace(self, coefficients=self.coefficients * self._everywhere(weight, shape), constant=constant)

    def shifted(self, bias: Float[Tensor, " channels"]) -> "Form":
        """The form where the layer has had a number per channel added; outside the image, coefficients are 0."""
        return replace(self, constant=self.constant + self.coefficients.unsqueeze(-1).flatten(3).sum(3) @ bias)

    def loosened(self, error: Tensor) -> "Form":
        """The form where the layer's values are known up to an error, one per sample and entry."""
        largest = error.unsqueeze(-1).flatten(2).amax(2)
        lengths = torch.linalg.vector_norm(self.coefficients.unsqueeze(-1).flatten(3), ord=1, dim=3)
        return replace(self, constant=self.constant - _inner(lengths, self._rows(largest).unsqueeze(1)))

    def plus(self, other: "Form", shape: torch.Size) -> "Form":
        """The sum of two forms of one layer of (samples, …) values."""
        one, two = _alike(self, other, shape)
        return replace(one, coefficients=one.coefficients + two.coefficients, constant=one.constant + two.constant)

    def whole(self, shape: torch.Size) -> "Form":
        """The same form with coefficients that cover the whole layer of (samples, channels, height, width)."""
        if self.window is None:
            return self
        samples, (rows, columns), (top, left) = shape[0], shape[2:], self.window.padding
        patches = self.coefficients.view(samples, -1, *self.coefficients.shape[1:])
        spread = patches.new_zeros(*patches.shape[:4], rows + 2 * top, columns + 2 * left)
        across = (columns + 2 * left - self.window.size[1]) // self.window.stride[1] + 1
        for patch in range(patches.shape[1]):
            down, right = patch // across * self.window.stride[0], patch % across * self.window.stride[1]
            into = spread[:, patch, ..., down : down + patches.shape[4], right : right + patches.shape[5]]
            into.copy_(patches[:, patch])
        inside = spread[..., top : top + rows, left : left + columns].flatten(0, 1)
        return replace(self, coefficients=inside, window=None)

    def _rows(self, values: Tensor) -> Tensor:
        """Per-sample values for each row."""
        rows = len(self.coefficients)
        return values if len(values) in (1, rows) else values.repeat_interleave(rows // len(values), dim=0)

    def _everywhere(self, values: Tensor, shape: torch.Size) -> Tensor:
        """Values that broadcast to a layer of this shape, laid out so that they broadcast to the coefficients."""
        if self.window is None or values.shape[2:].numel() == 1:
            return values.unsqueeze(1)
        return self.here(values.expand(shape[0], -1, *shape[2:]))


def _alike(one: Form, two: Form, shape: torch.Size) -> tuple[Form, Form]:
    """Two forms of one layer over the same patches, where they can be, otherwise over the whole layer."""
    if one.window is None or two.window is None or one.window == two.window:
        return (one, two) if one.window == two.window else (one.whole(shape), two.whole(shape))
    top, left = (max(one.window.padding[axis], two.window.padding[axis]) for axis in (0, 1))
    larger = [_grown(form, (top, left)) for form in (one, two)]
    if larger[0].window != larger[1].window:
        return one.whole(shape), two.whole(shape)
    return larger[0], larger[1]


def _grown(form: Form, padding: Pair) -> Form:
    assert form.window is not None
    rows, columns = (new - old for new, old in zip(padding, form.window.padding, strict=True))
    wider = F.pad(form.coefficients, (columns, columns, rows, rows))
    return replace(form, coefficients=wider, window=form.window.grown((rows, columns)))


def _inner(coefficients: Tensor, values: Tensor) -> Tensor:
    """⟨coefficients of each output, values⟩, summed over the layer; values that stand once stand for all entries."""
    if values.shape[2:] != coefficients.shape[2:]:
        values = values.expand(*values.shape[:2], *coefficients.shape[2:])
    return (coefficients.flatten(2) @ values.flatten(2).transpose(1, 2)).squeeze(2)
