"""A convolution with its ReLU and 2 × 2 max pooling as one layer, on a CPU, for the gradient of its input alone."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ibrobust.models.relus import current_gate, recording
from ibrobust.types import Images

Features = Float[Tensor, "batch channels rows columns"]
Pooled = Float[Tensor, "batch outputs pooled_rows pooled_columns"]

_CHANNELS = 16
"""Output channels that keep a vector unit busy: a convolution of fewer takes as long as one of so many."""


class PooledConvolution(nn.Module):
    """The pass for a convolution with several input channels. The ReLU comes last, on a quarter of the values; the
    gradient is itself a convolution, whose output channels are those of as many neighbouring columns as keep the
    machine busy."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.as_written = _as_written(convolution)
        assert not isinstance(convolution.padding, str)
        self.kernels = convolution.weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = None if convolution.bias is None else convolution.bias.detach()
        self.padding = convolution.padding
        self.columns = 2 ** int(math.log2(max(1, _CHANNELS / convolution.in_channels)))
        mirrored = self.kernels.flip(2, 3).transpose(0, 1)
        shifted = [F.pad(mirrored, (column, self.columns - 1 - column)) for column in range(self.columns)]
        self.mirrored = torch.cat(shifted).contiguous(memory_format=torch.channels_last)
        (rows, columns), (above, before) = convolution.kernel_size, convolution.padding
        self.mirrored_padding = (rows - 1 - above, columns - 1 - before)

    def forward(self, x: Features) -> Pooled:
        if recording():
            written: Tensor = self.as_written(x)
            return written
        pooled: Tensor = _Pooled.apply(x, self)
        return pooled


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PooledConvolution) -> Tensor:
        convolved = F.conv2d(x, layer.kernels, layer.bias, padding=layer.padding)
        if not ctx.needs_input_grad[0]:
            rows, columns = (size // 2 * 2 for size in convolved.shape[2:])
            upper = torch.maximum(convolved[:, :, 0:rows:2], convolved[:, :, 1:rows:2])
            pooled: Tensor = torch.maximum(upper[..., 0:columns:2], upper[..., 1:columns:2])
            return pooled.relu_()
        largest, which = torch.ops.aten.max_pool2d_with_indices(convolved, [2, 2], [2, 2])
        ctx.soft, passing, pooled = _gated(largest)
        ctx.save_for_backward(convolved, which, passing)
        ctx.layer, ctx.image = layer, x.shape
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        convolved, which, passing = ctx.saved_tensors
        through = torch.ops.aten.max_pool2d_with_indices_backward(
            _let_through(passing, gradient, ctx.soft), convolved, [2, 2], [2, 2], [0, 0], [1, 1], False, which
        )
        return _spread_over_columns(through, ctx.layer, ctx.image), None


def _spread_over_columns(gradient: Tensor, layer: PooledConvolution, image: torch.Size) -> Features:
    """The gradient of a convolution with respect to its images, from that of its outputs."""
    batch, channels, rows, columns = image
    if incomplete := -columns % layer.columns:
        gradient = F.pad(gradient, (0, incomplete))
    spread = F.conv2d(gradient, layer.mirrored, padding=layer.mirrored_padding, stride=(1, layer.columns))
    return spread.permute(0, 2, 3, 1).reshape(batch, rows, -1, channels)[:, :, :columns].permute(0, 3, 1, 2)


class PooledGreyConvolution(nn.Module):
    """The pass for a convolution with one input channel, which leaves most of a vector register empty: here its kernels
    at all four positions of a pooling window are output channels of one convolution with stride 2."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.as_written = _as_written(convolution)
        size = convolution.kernel_size[0]
        kernels = convolution.weight.new_zeros(2, 2, convolution.out_channels, 1, size + 1, size + 1)
        for row in range(2):
            for column in range(2):
                kernels[row, column, ..., row : row + size, column : column + size] = convolution.weight.detach()
        self.kernels = kernels.flatten(0, 2)
        self.bias = None if convolution.bias is None else convolution.bias.detach().repeat(4)
        self.padding = convolution.padding

    def forward(self, x: Images) -> Pooled:
        if recording():
            written: Tensor = self.as_written(x)
            return written
        pooled: Tensor = _PooledGrey.apply(x, self.kernels, self.bias, self.padding)
        return pooled


class _PooledGrey(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        window = F.conv2d(x, kernels, bias, stride=2, padding=padding)
        window = window.view(len(x), 4, -1, *window.shape[2:])
        if not ctx.needs_input_grad[0]:
            return window.amax(1).relu_()
        upper, lower = (torch.maximum(window[:, i], window[:, i + 1]) for i in (0, 2))
        ctx.soft, passing, pooled = _gated(torch.maximum(upper, lower))
        ctx.save_for_backward(window, upper, lower, passing, kernels)
        ctx.padding, ctx.image = padding, x.shape[2:]
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        window, upper, lower, passing, kernels = ctx.saved_tensors
        through = torch.empty_like(window)
        gradient = _let_through(passing, gradient.contiguous(), ctx.soft)
        # As max pooling has it, the first of equal values takes it all.
        to_lower = _where_positive(lower - upper, gradient)
        for i, to_row in ((0, gradient - to_lower), (2, to_lower)):
            _where_positive(window[:, i + 1] - window[:, i], to_row, out=through[:, i + 1])
            torch.sub(to_row, through[:, i + 1], out=through[:, i])
        return _spread(through.flatten(1, 2), kernels, ctx.image, ctx.padding), None, None, None


def _as_written(convolution: nn.Conv2d) -> nn.Module:
    """The three layers that one stands for, ReLU and pooling in either order: the same function."""
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(2))


def _gated(largest: Tensor) -> tuple[bool, Tensor, Tensor]:
    """Whether the ReLU is softened, what says how much of the gradient it lets through, and the pooled values."""
    if (gate := current_gate()) is None:
        pooled = largest.relu_()
        return False, pooled, pooled
    return True, gate.passing(largest), largest.clamp(min=0)


def _let_through(passing: Tensor, gradient: Tensor, soft: bool) -> Tensor:
    return gradient * passing if soft else _where_positive(passing, gradient)


def _where_positive(x: Tensor, gradient: Tensor, out: Tensor | None = None) -> Tensor:
    """The gradient where x > 0, otherwise 0: what `torch.where` says, in vector registers."""
    out = torch.empty_like(x) if out is None else out
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=out)
    return out


def _spread(gradient: Pooled, kernels: Tensor, image: torch.Size, padding: tuple[int, int]) -> Images:
    """The gradient of a convolution with stride 2 with respect to its images, of one channel.

    Even and odd rows and columns are kept apart as four channels, in which a kernel's steps of 2 are steps of 1.
    """
    batch, outputs, rows, columns = gradient.shape
    half = kernels.shape[2] // 2
    by_parity = kernels.view(outputs, half, 2, half, 2).permute(1, 3, 2, 4, 0).reshape(-1, outputs)
    parts = torch.matmul(by_parity, gradient.flatten(2)).view(batch, half, half, 4, rows, columns)
    sums = gradient.new_zeros(batch, 4, rows + half - 1, columns + half - 1)
    for row in range(half):
        for column in range(half):
            sums[:, :, row : row + rows, column : column + columns].add_(parts[:, row, column])
    padded = F.pixel_shuffle(sums, 2)
    (height, width), (above, before) = image, padding
    return F.pad(padded, (-before, width + before - padded.shape[3], -above, height + above - padded.shape[2]))
