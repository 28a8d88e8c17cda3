"""How large blocks are: about half a minute of work each, by what earlier ones took.

A block takes a + b · n seconds for n samples: passes of few rows cost nearly as much as those of many. Where a is
large, half a minute is too little to be worth it, and a block takes longer. Seconds are of work: on a machine that
others use, too, they pass more slowly than those of the clock, and blocks are no smaller for it.

Towards the end a block is as large as lets all workers end together: each block costs its a again, so that a few equal
ones beat many that get smaller and smaller.
"""

import time
from collections.abc import Callable, Sequence
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


class _AtWork(NamedTuple):
    """A block that a worker has: when it was given, and the seconds of work that it is expected to take."""

    piece: int
    samples: int
    given: float
    expected: float


@dataclass
class Pace:
    """What blocks took so far, and which are in work.

    Attributes:
        workers: how many blocks are worked on at a time, as far as is known.
        clock: seconds.
    """

    workers: int
    clock: Callable[[], float] = time.perf_counter
    _took: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    _expected: dict[int, Expectation] = field(default_factory=dict)
    _latest: int | None = None
    _at_work: list[_AtWork] = field(default_factory=list)
    _slowness: float = 1.0

    def expect(self, piece: int, expected: Expectation) -> None:
        """What a block of a piece may take, as long as too little of it has been worked on."""
        self._expected[piece] = expected

    def gave(self, piece: int, samples: int) -> None:
        """A worker has a block of a piece."""
        known = self._known(piece)
        seconds = known[0].fixed + known[0].each * samples if known and samples else 0.0
        self._at_work.append(_AtWork(piece, samples, self.clock(), seconds))

    def ended(self, piece: int, samples: int) -> None:
        """A worker has that block no more."""
        self._at_work.remove(next(found for found in self._at_work if found[:2] == (piece, samples)))

    def took(self, piece: int, samples: int, work: float, seconds: float = 0.0) -> None:
        """A block of a piece took so many seconds of work, and of the clock."""
        if samples:
            self._took.setdefault(piece, []).append((samples, work))
            self._latest = piece
            self._slowness = max(1.0, seconds / max(work, _INSTANT))

    def size(self, piece: int, left: int, all_left: int) -> int:
        """Samples of the next block, of those left of the piece, and of all pieces, that nobody works on yet."""
        known = self._known(piece)
        size = FIRST
        if known:
            usual, size = known
            busy = [self._seconds_left(found) for found in self._at_work]
            idle = [0.0] * (self.workers - 1 - len(busy))
            if busy or idle:
                size = min(size, _share(usual, all_left, [*busy, *idle]))
        size = max(size // FIRST * FIRST, FIRST)
        return left if left - size < FIRST else size

    def _known(self, piece: int) -> tuple[Expectation, int] | None:
        """What a block of a piece takes, and how large it is best; None before anything is known."""
        took, expected = self._took.get(piece), self._expected.get(piece)
        if not took and not expected:
            took = self._took.get(-1 if self._latest is None else self._latest)
        if took and expected and len({samples for samples, _ in took}) == 1:
            # What the fixed part is cannot be seen yet, but what is expected was right or wrong by so much.
            ratio = sum(seconds for _, seconds in took) / sum(expected.fixed + expected.each * n for n, _ in took)
            expected = Expectation(ratio * expected.fixed, ratio * expected.each)
        elif took:
            return _line(took), _size(took)
        return (expected, min(_best(*expected), _MOST)) if expected else None

    def _seconds_left(self, block: _AtWork) -> float:
        return max(0.0, block.expected - (self.clock() - block.given) / self._slowness)


def _share(usual: Expectation, left: int, busy: Sequence[float]) -> int:
    """The samples for a worker that is free now with which all end together, where the others, which take what is left
    beside, are busy for so many more seconds. Rounded up to whole passes: no crumbs are left."""
    fixed, each = usual.fixed, max(usual.each, _INSTANT)
    starts = [0.0]
    end = fixed + left * each
    for start in sorted(busy):
        if end <= start + fixed:
            break  # It is not worth a block of this one's.
        starts.append(start)
        end = fixed + (left * each + sum(starts)) / len(starts)
    return -(-int(min((end - fixed) / each, left) + 0.999) // FIRST) * FIRST


def _size(took: list[tuple[int, float]]) -> int:
    """The best number of samples."""
    usual = _line(took)
    largest = max(samples for samples, _ in took)
    best: float = _best(*usual)
    if all(samples == largest for samples, _ in took):
        # The a is a guess until blocks of two sizes are known.
        longest = max(_INSTANT, *(seconds for _, seconds in took))
        best = max(min(best, 2 * SECONDS / longest * largest), 2 * largest if longest < _LONGEST else 0)
    return int(min(best + 1e-6, _GROWTH * largest, _MOST))


def _best(a: float, b: float) -> int:
    return int(min(max(SECONDS - a, min(a * (1 / _OVERHEAD - 1), _LONGEST - a)) / max(b, _INSTANT) + 1e-6, 1e9))


def _line(took: list[tuple[int, float]]) -> Expectation:
    """The a and b of a block's seconds, by least squares; of blocks of one size alone, half of the first sixteen
    samples' time is taken to be the a."""
    samples, seconds = np.asarray(took, float).T
    if len(set(samples)) > 1:
        b, a = np.polyfit(samples, seconds, 1)
        if b > 0:
            return Expectation(max(float(a), 0.0), float(b))
    mean, count = float(seconds.mean()), float(samples.mean())
    b = max(mean, _INSTANT) / (count + FIRST)
    return Expectation(max(mean - b * count, 0.0), b)
