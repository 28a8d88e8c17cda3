"""How far all work is, over all blocks, runs and workers."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ibrobust.errors import ModelWarning


class Told(NamedTuple):
    """What a job tells of its item: the share that is done, what it does, and how many samples are broken so far."""

    share: float
    doing: str
    broken: int | None = None


_TELLING = 0.005
"""Share of the work that has to be done before it says how long the rest will take."""


@dataclass(frozen=True)
class Progress:
    """How far the work is at one moment.

    Attributes:
        name: the run that was heard of last; `run` of `runs` by number, from 1.
        unit: what is counted.
        done, total: so many of all, whatever was there before among them; `done` counts parts of blocks.
        per_second: of this call; 0 before anything is known.
        seconds_left: expected; None before enough is done to know.
        broken, of: samples broken at the largest radius, and how many they are of; 0 of 0 where nothing is attacked.
        doing: what was heard of last, as the attack in work.
    """

    name: str
    run: int
    runs: int
    unit: str
    done: float
    total: int
    per_second: float
    seconds_left: float | None
    broken: int
    of: int
    doing: str


def told_nothing(_progress: Progress) -> None:
    """Where nobody watches."""


def warned(_name: str, text: str) -> None:
    """What a Python caller is told about a model."""
    warnings.warn(text, ModelWarning, stacklevel=2)


@dataclass(frozen=True)
class Watch:
    """Who is told how the work goes.

    Attributes:
        tell: told how far it is, often.
        warn: told a run's name and what is odd about it.
        say: told what else there is to say, as that another process is waited for.
    """

    tell: Callable[[Progress], None] = told_nothing
    warn: Callable[[str, str], None] = warned
    say: Callable[[str], None] = lambda _text: None


NOBODY = Watch()


@dataclass
class Account:
    """What is done and what is left, from what pieces, items and jobs say.

    Attributes:
        unit: what is counted.
        names: of the pieces.
        total: samples of all pieces.
    """

    watch: Watch
    unit: str
    names: Sequence[str]
    total: int
    _before: int = 0
    _done: int = 0
    _broken: int = 0
    _judged: int = 0
    _at_work: dict[tuple[int, Any], tuple[int, Told]] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)
    _last: tuple[int, str] = (0, "")

    def there(self, count: int, broken: int) -> None:
        """So many samples were done before, and so many of them are broken."""
        self._before += count
        self._judged += count
        self._broken += broken

    def told(self, item: Any, told: Told) -> None:
        """A job tells of its item."""
        self._at_work[_key(item)] = len(item), told
        self._last = item.piece, told.doing
        self._tell()

    def finished(self, item: Any, broken: int) -> None:
        """An item is done."""
        self._at_work.pop(_key(item), None)
        self._done += len(item)
        self._judged += len(item)
        self._broken += broken
        self._last = item.piece, self._last[1] if self._last[0] == item.piece else ""
        self._tell()

    def failed(self, item: Any, left: int) -> None:
        """An item will not be done, nor what is left of its piece."""
        self._at_work.pop(_key(item), None)
        self.total -= len(item) + left

    def say(self, text: str) -> None:
        self.watch.say(text)

    def _tell(self) -> None:
        self.watch.tell(self.progress(time.perf_counter() - self._began))

    def progress(self, seconds: float) -> Progress:
        """How far the work is, so many seconds after its beginning."""
        at_work = self._at_work.values()
        now = float(self._done) + sum(count * told.share for count, told in at_work)
        rate = now / seconds if seconds > 0 else 0.0
        watched = [(count, told.broken) for count, told in at_work if told.broken is not None]
        broken = self._broken + sum(broken for _, broken in watched)
        of = self._judged + sum(count for count, _ in watched)
        whole = self.total - self._before
        left = (whole - now) / rate if rate and now >= _TELLING * whole else None
        piece, doing = self._last
        return Progress(
            self.names[piece], piece + 1, len(self.names), self.unit, self._before + now, self.total, rate, left,
            broken, of, doing,
        )  # fmt: skip


def _key(item: Any) -> tuple[int, Any]:
    return item.piece, item.key
