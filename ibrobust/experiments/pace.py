"""How large blocks are: about half a minute of work each, by what earlier ones took."""

from dataclasses import dataclass, field

SECONDS = 30.0
"""Work of a block: what a kill costs at most, for each worker."""

FIRST = 16
"""Samples of a block while nothing is known. Fewer are filled up to as many before they go through a model."""

_MOST = 2000
"""Beyond that many samples in a block nothing gets faster."""

_GROWTH = 16
"""How many times the size of blocks so far the next may be: the first may not be like the others."""


@dataclass
class Pace:
    """What blocks took so far.

    Attributes:
        workers: how many blocks are worked on at a time.
    """

    workers: int
    _seconds: dict[int, float] = field(default_factory=dict)
    _latest: float | None = None
    _largest: int = 1

    def took(self, piece: int, samples: int, seconds: float) -> None:
        """A block of a piece took so long."""
        if samples:
            self._seconds[piece] = self._latest = seconds / samples
            self._largest = max(self._largest, samples)

    def size(self, piece: int, left: int, all_left: int) -> int:
        """Samples of the next block, of those that are left of the piece, and of all pieces that nobody works on yet.

        Towards the end blocks get smaller, so that all workers end at about the same time.
        """
        seconds = self._seconds.get(piece, self._latest)
        size = FIRST if seconds is None else int(min(SECONDS / max(seconds, 1e-9), _GROWTH * self._largest, _MOST))
        if self.workers > 1:
            size = min(size, -(-all_left // (2 * self.workers)))
        size = max(size // FIRST * FIRST, FIRST)
        return left if left - size < FIRST else size
