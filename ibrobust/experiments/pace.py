"""How large blocks are: about half a minute of work each, by what earlier ones took.

A block takes a + b · n seconds for n samples: passes of few rows cost nearly as much as those of many. Where a is
large, half a minute is too little to be worth it, and a block takes longer. Seconds are of work: on a machine that
others use, too, they pass more slowly than those of the clock, and blocks are no smaller for it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SECONDS = 30.0
"""Work of a block: what a kill costs at most, for each worker."""

FIRST = 16
"""Samples of a block while nothing is known or expected. Fewer are filled up to as many before they go through a
model."""

_OVERHEAD = 0.1
"""Share of a block's seconds that may be the a, if the block ..."""
_LONGEST = 120.0
"""... then takes no more seconds than these."""

_TAIL = 0.3
"""The same share for the last blocks, which are small so that all workers end together."""

_INSTANT = 1e-6
"""Seconds; a clock may say that no time has passed."""

_MOST = 2000
"""Beyond that many samples in a block nothing gets faster."""

_GROWTH = 16
"""How many times the size of blocks so far the next may be: the first may not be like the others."""


class Expectation(NamedTuple):
    """Seconds of work that a block is expected to take: `fixed` + `each` · samples."""

    fixed: float
    each: float


@dataclass
class Pace:
    """What blocks took so far.

    Attributes:
        workers: how many blocks are worked on at a time.
    """

    workers: int
    _took: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    _expected: dict[int, Expectation] = field(default_factory=dict)
    _latest: int | None = None

    def expect(self, piece: int, expected: Expectation) -> None:
        """What a block of a piece may take, as long as none of it has been worked on."""
        self._expected[piece] = expected

    def took(self, piece: int, samples: int, seconds: float) -> None:
        """A block of a piece took so many seconds of work."""
        if samples:
            self._took.setdefault(piece, []).append((samples, seconds))
            self._latest = piece

    def size(self, piece: int, left: int, all_left: int) -> int:
        """Samples of the next block, of those that are left of the piece, and of all pieces that nobody works on yet.

        Towards the end blocks get smaller, so that all workers end at about the same time.
        """
        known = self._took.get(piece)
        if not known and piece not in self._expected:
            known = self._took.get(-1 if self._latest is None else self._latest)
        if known:
            size, least = _sizes(known)
        elif expected := self._expected.get(piece):
            size, least = min(_best(*expected), _MOST), _least(*expected)
        else:
            size, least = FIRST, FIRST
        if self.workers > 1:
            size = min(size, max(-(-all_left // (2 * self.workers)), least))
        size = max(size // FIRST * FIRST, FIRST)
        return left if left - size < FIRST else size


def _sizes(took: list[tuple[int, float]]) -> tuple[int, int]:
    """The best number of samples, and the least that is not mostly overhead."""
    a, b = _line(took)
    largest = max(samples for samples, _ in took)
    best: float = _best(a, b)
    if all(samples == largest for samples, _ in took):
        # The a is a guess until blocks of two sizes are known.
        longest = max(_INSTANT, *(seconds for _, seconds in took))
        best = max(min(best, 2 * SECONDS / longest * largest), 2 * largest if longest < _LONGEST else 0)
    return int(min(best + 1e-6, _GROWTH * largest, _MOST)), _least(a, b)


def _best(a: float, b: float) -> int:
    return int(min(max(SECONDS - a, min(a * (1 / _OVERHEAD - 1), _LONGEST - a)) / max(b, _INSTANT) + 1e-6, 1e9))


def _least(a: float, b: float) -> int:
    return int(min(a * (1 / _TAIL - 1) / max(b, _INSTANT), _MOST))


def _line(took: list[tuple[int, float]]) -> tuple[float, float]:
    """The a and b of a block's seconds, by least squares; of blocks of one size alone, half of the first sixteen
    samples' time is taken to be the a."""
    samples, seconds = np.asarray(took, float).T
    if len(set(samples)) > 1:
        b, a = np.polyfit(samples, seconds, 1)
        if b > 0:
            return max(float(a), 0.0), float(b)
    mean, count = float(seconds.mean()), float(samples.mean())
    b = max(mean, _INSTANT) / (count + FIRST)
    return max(mean - b * count, 0.0), b
