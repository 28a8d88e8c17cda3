"""Blocks of samples, the usual items of work, and what their jobs have in common."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ibrobust.datasets import Split
from ibrobust.experiments.jobs import Tell
from ibrobust.experiments.pieces import Answer
from ibrobust.experiments.progress import Told

_TOLD_EVERY = 0.5
"""Seconds between two messages of a job."""

_SHARED = 4
"""How many times as long as without others a block may be taken to last on a busy machine."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Block:
    """Samples of one run that are worked on together.

    Attributes:
        piece: the number of the run in the call.
        rows: the samples' numbers.
        split: their images and labels.
        ids: the samples' numbers, where those are not their places, `rows`.
        variants: the samples under corruptions, by corruption and severity, where they are not to be made.
        look: the model is only looked at on them: the answer is what is odd about it, and what blocks will take.
        prove: their radii are certified first.
    """

    piece: int
    rows: range
    split: Split
    look: bool = False
    ids: NDArray[np.int64] | None = None
    variants: Mapping[str, Tensor] | None = None
    prove: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.rows.start, self.rows.stop

    def __len__(self) -> int:
        return 0 if self.look else len(self.rows)


class Latest(Generic[Value]):
    """What was made last; another process makes it anew."""

    def __init__(self) -> None:
        self._made: tuple[object, Value] | None = None

    def of(self, key: object, make: Callable[[], Value]) -> Value:
        """What the key stands for, made only if it is not the one that was made last."""
        if self._made is None or self._made[0] != key:
            self._made = None  # Two models need not fit in memory.
            self._made = key, make()
        return self._made[1]

    def __reduce__(self) -> tuple[type["Latest[Value]"], tuple[()]]:
        return Latest, ()


class Teller:
    """Tells how far an item is, now and then: `tell` itself may cost a message to another process."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._told = tell, 0.0

    def __call__(self, told: Told) -> None:
        if (now := time.perf_counter()) - self._told > _TOLD_EVERY or told.share == 1:
            self._told = now
            self._tell(told)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def answer(self, result: object) -> Answer:
        """A job's answer, with the seconds that it took."""
        clock, cpu = time.perf_counter() - self._clock, time.process_time() - self._cpu
        # A GPU, or a model that is asked over a network, works while this process waits.
        return Answer(result, clock, min(clock, max(cpu / torch.get_num_threads(), clock / _SHARED)))
