"""Layers whose answer depends on more than their input, told from outside what they may depend on.

Dropout and DropConnect take their masks from the noise that `noise_in_layers` opens and are the identity outside it;
batch norm uses the batch's own statistics inside `learning` and the frozen ones outside. So nothing hangs on
`train()` and `eval()`, nor on torch's global generator, and a sample's masks come from its own stream.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.randomness import Draw, GeneratorNoise, GlobalNoise, Noise

_NOISE: ContextVar[Noise | None] = ContextVar("noise in layers", default=None)
_LEARNING: ContextVar[bool] = ContextVar("learning", default=False)


@contextmanager
def noise_in_layers(noise: Noise) -> Iterator[None]:
    """Inside the block, noisy layers draw their masks from `noise`."""
    token = _NOISE.set(noise)
    try:
        yield
    finally:
        _NOISE.reset(token)


@contextmanager
def learning() -> Iterator[None]:
    """Inside the block, batch norm normalises with the batch and keeps its running statistics up to date."""
    token = _LEARNING.set(True)
    try:
        yield
    finally:
        _LEARNING.reset(token)


@runtime_checkable
class NoisyLayer(Protocol):
    """A layer with noise of its own: any module that has a `stream` and draws from `noise_for` itself.

    Attributes:
        stream: the name of its random numbers; a model sets it to the layer's place, so that no two layers share them.

    A layer with an attribute `rate` of 0 counts as one without noise.
    """

    stream: str


def noise_for(layer: NoisyLayer, *, shared: bool = False) -> Noise | None:
    """Where a layer draws its random numbers; None where the noise is off, and the layer has to be deterministic.

    Args:
        shared: one draw for a whole training batch; an evaluation's draws are each sample's own.
    """
    noise = _NOISE.get()
    if noise is None:
        return None
    return (_one_for_the_batch(noise) if shared else noise).fold(layer.stream)


class Dropout(nn.Module):
    """Zeroes features with probability `rate` and scales the others up (Srivastava et al. 2014).

    Args:
        shared: one mask for a whole training batch (Kirsch et al. §G.1); an evaluation's masks are each sample's own.
    """

    def __init__(self, rate: float, *, shared: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.shared = shared
        self.stream = "dropout"

    def forward(self, x: Tensor) -> Tensor:
        noise = noise_for(self, shared=self.shared)
        if noise is None or self.rate == 0:
            return x
        return x * _mask(noise.uniform(*x.shape[1:]), self.rate)


def dropout_layer(rate: float, *, shared: bool = False) -> list[nn.Module]:
    """Dropout, or nothing at all where the rate is 0."""
    return [Dropout(rate, shared=shared)] if rate else []


class DropConnectConv2d(nn.Conv2d):
    """A convolution whose weights are dropped with probability `rate` (Wan et al. 2013).

    One mask for a whole training batch (Kirsch et al. §G.1). In an evaluation each sample has its own, and samples
    are convolved one by one: exact, and slower by about the batch size.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, rate: float, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=padding, bias=False)
        self.rate = rate
        self.stream = "dropconnect"

    def forward(self, input: Tensor) -> Tensor:
        noise = noise_for(self, shared=True)
        if noise is None or self.rate == 0:
            return self._convolved(input, self.weight)
        if isinstance(noise, Draw):
            parts = [self._masked(input[i : i + 1], noise[i : i + 1]) for i in range(len(input))]
            return torch.cat(parts)
        return self._masked(input, noise)

    def _masked(self, x: Tensor, noise: Noise) -> Tensor:
        mask = _mask(noise.uniform(*self.weight.shape), self.rate)[0]
        return self._convolved(x, self.weight * mask)

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm (Ioffe and Szegedy 2015) that looks at its batch inside `learning` alone."""

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, _LEARNING.get(), 0.1, self.eps
        )


def noisy_layers(module: nn.Module) -> dict[str, NoisyLayer]:
    """The layers of a module that draw random numbers, by their place in it."""
    layers = module.named_modules()
    return {name: layer for name, layer in layers if isinstance(layer, NoisyLayer) and getattr(layer, "rate", 1) > 0}


def _mask(uniform: Float[Tensor, "..."], rate: float) -> Float[Tensor, "..."]:
    """1/(1 − rate) where a feature or weight is kept, 0 where it is dropped: the mean stays what it was."""
    return (uniform >= rate).to(uniform.dtype) / (1 - rate)


def _one_for_the_batch(noise: Noise) -> Noise:
    return replace(noise, batch=1) if isinstance(noise, GeneratorNoise | GlobalNoise) else noise
