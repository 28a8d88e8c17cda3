"""How much work certified radii are worth beyond plain linear bounds."""

import time
from dataclasses import dataclass

from ibrobust.errors import BadInput


@dataclass(frozen=True)
class Effort:
    """Optimised slopes and intermediate bounds, then branching on ReLUs, until a sample has had its share.

    Attributes:
        branches: domains that are bounded for a sample at most, all radii together; 0 optimises slopes alone. The same
            number gives the same radii.
        seconds: time for a sample at most. What is certified then depends on the machine.

    Raises:
        BadInput: neither is given, or one is out of range.
    """

    branches: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.branches is None and self.seconds is None:
            raise BadInput("an effort needs branches or seconds")
        if self.branches is not None and self.branches < 0:
            raise BadInput(f"branches {self.branches!r}: a whole number of at least 0")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise BadInput(f"seconds {self.seconds!r}: a number above 0")

    @property
    def told(self) -> dict[str, int | float]:
        """The limits that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Budget:
    """What is left of one sample's effort.

    Attributes:
        used: domains bounded so far.
    """

    def __init__(self, effort: Effort) -> None:
        self.used = 0
        self._branches = effort.branches
        self._end = None if effort.seconds is None else time.perf_counter() + effort.seconds

    @property
    def left(self) -> bool:
        """Whether there is time left; `take` hands out branches."""
        return self._end is None or time.perf_counter() < self._end

    def half(self) -> "Budget":
        """A budget of half of what is left; what it uses is this one's loss once it is `spent`."""
        part = Budget(Effort(branches=0))
        part._branches = None if self._branches is None else self._branches // 2
        now = time.perf_counter()
        part._end = None if self._end is None else now + max(0.0, self._end - now) / 2
        return part

    def spent(self, part: "Budget") -> None:
        """Takes what a part used from this budget."""
        if part is not self:
            self.take(part.used)

    def take(self, most: int) -> int:
        """Up to so many branches, in pairs; as many as are left."""
        taken = most if self._branches is None else min(most, self._branches // 2 * 2)
        self.used += taken
        if self._branches is not None:
            self._branches -= taken
        return taken
