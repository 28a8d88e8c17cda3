"""Random numbers that depend on what they are for, not on when they are drawn.

A `Draw` holds one 64-bit key per sample. What it yields for sample 17 depends on the seed, on the names folded
in and on the id 17 alone, so a result is the same whatever the batch size, the order, the sharding or the number
of interruptions. The generator is SplitMix64 (Steele, Lea, Flood 2014) read at explicit counters.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


@runtime_checkable
class Noise(Protocol):
    """Where a stochastic model takes its random numbers from: the leading dimension is the batch."""

    def fold(self, name: str | int) -> "Noise": ...
    def uniform(self, *shape: int) -> Tensor: ...
    def normal(self, *shape: int) -> Tensor: ...


@dataclass(frozen=True)
class Draw:
    """One stream of random numbers per sample; calling twice gives the same numbers, `fold` gives others."""

    keys: Int[Tensor, " batch"]

    def __getitem__(self, kept: Tensor | slice) -> "Draw":
        return Draw(self.keys[kept])

    def __len__(self) -> int:
        return len(self.keys)

    def fold(self, name: str | int | Int[Tensor, " batch"]) -> "Draw":
        """The stream for one purpose (an attack's name, a restart, a step; a tensor has one number per sample)."""
        return Draw(_mixed(self.keys ^ (_mixed(name) if isinstance(name, Tensor) else _hashed(str(name)))))

    def uniform(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Uniform on [0, 1), 24 bits each, shape (batch, *shape)."""
        return (self._bits(shape) >> 40 & 0xFFFFFF).to(torch.float32) * 2.0**-24

    def normal(self, *shape: int) -> Float[Tensor, "batch ..."]:
        """Standard normal by Box-Muller in float64, shape (batch, *shape)."""
        count = math.prod(shape)
        uniform = ((self._bits((2 * count,)) >> 11 & (2**53 - 1)).to(torch.float64) + 0.5) * 2.0**-53
        radius = torch.sqrt(-2 * torch.log(uniform[:, :count]))
        return (radius * torch.cos(2 * math.pi * uniform[:, count:])).to(torch.float32).view(-1, *shape)

    def _bits(self, shape: tuple[int, ...]) -> Tensor:
        counter = torch.arange(1, math.prod(shape) + 1, device=self.keys.device) * _signed(_GOLDEN)
        return _mixed(self.keys[:, None] + counter).view(-1, *shape)


class DrawsAhead:
    """What `draw.fold(name)` yields for each of several names, made for all of them when the first is used: many small
    tensors take longer than a large one. `ahead[places, samples]` are those of pairs of a name and a sample."""

    def __init__(self, draw: Draw, names: Sequence[str | int]) -> None:
        self._each = len(names), len(draw)
        hashed = torch.tensor([_hashed(str(name)) for name in names], device=draw.keys.device)
        self._whole = Draw(_mixed(draw.keys ^ hashed[:, None]).flatten())
        self._known: dict[tuple[object, ...], Tensor] = {}

    def __getitem__(self, pairs: tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]) -> "SomeAhead":
        return SomeAhead(self, pairs)

    def numbers(self, kind: str, path: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
        """`uniform` or `normal` numbers of all names, (names, samples, *shape), after these folds."""
        known = kind, path, shape
        if known not in self._known:
            draw = self._whole
            for name in path:
                draw = draw.fold(name)
            self._known[known] = getattr(draw, kind)(*shape).view(*self._each, *shape)
        return self._known[known]


@dataclass(frozen=True)
class SomeAhead:
    """Some of the draws that are made together; used as a `Draw` is."""

    ahead: DrawsAhead
    pairs: tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]
    path: tuple[str | int, ...] = ()

    def fold(self, name: str | int) -> "SomeAhead":
        return SomeAhead(self.ahead, self.pairs, (*self.path, name))

    def uniform(self, *shape: int) -> Tensor:
        return self.ahead.numbers("uniform", self.path, shape)[self.pairs]

    def normal(self, *shape: int) -> Tensor:
        return self.ahead.numbers("normal", self.path, shape)[self.pairs]


@dataclass(frozen=True)
class GeneratorNoise:
    """Noise for training, where the order of the steps is fixed: one generator for the whole batch."""

    generator: torch.Generator
    batch: int

    def fold(self, name: str | int) -> "GeneratorNoise":  # noqa: ARG002 - every call draws anew
        return self

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.batch, *shape, generator=self.generator, device=self.generator.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, generator=self.generator, device=self.generator.device)


@dataclass(frozen=True)
class GlobalNoise:
    """Noise from torch's global generator, for training loops that seed it themselves."""

    batch: int
    device: torch.device

    def fold(self, name: str | int) -> "GlobalNoise":  # noqa: ARG002 - every call draws anew
        return self

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.batch, *shape, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, device=self.device)


def sample_draw(seed: int, ids: Int[Tensor, " batch"]) -> Draw:
    """The root stream of each sample id under a seed."""
    return Draw(_mixed(_mixed(ids.to(torch.int64)) ^ _hashed(f"seed {seed}")))


def _hashed(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def _mixed(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser."""
    if bits.device.type == "cpu":
        return torch.from_numpy(_mixed_unsigned(bits.numpy().view(np.uint64)).view(np.int64))
    return _mixed_signed(bits)


def _mixed_unsigned(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """In NumPy, whose calls cost less than PyTorch's: an attack may draw thousands of times."""
    bits = bits + np.uint64(_GOLDEN)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return bits


def _mixed_signed(bits: Tensor) -> Tensor:
    """In int64 arithmetic, which wraps: a mask makes each right shift logical."""
    bits = bits + _signed(_GOLDEN)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        bits = (bits ^ (bits >> shift & (2 ** (64 - shift) - 1))) * _signed(factor)
    return bits ^ (bits >> 31 & (2**33 - 1))


def _signed(bits: int) -> int:
    """The int64 with the same bits."""
    return bits - 2**64 if bits >= 2**63 else bits
