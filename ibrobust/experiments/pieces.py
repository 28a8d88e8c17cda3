"""Pieces of work, one for each result, cut into items that many workers share; results come when all items are done."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ibrobust.errors import RunFailed
from ibrobust.experiments.jobs import Job, Outcome, Place, Workload, outcomes, require_no_failures
from ibrobust.experiments.pace import Expectation, Pace
from ibrobust.experiments.progress import Account, Watch

_LOOK_AGAIN = 1.0
"""Seconds between two looks at whether another process has finished what it works on."""


@runtime_checkable
class Item(Protocol):
    """What a job is given: it belongs to a piece, where its key tells it apart, and is of so many samples, or of
    whatever else is counted."""

    @property
    def piece(self) -> int: ...

    @property
    def key(self) -> Any: ...

    def __len__(self) -> int: ...


class Answer(NamedTuple):
    """What a job gives back: its result, what it took beside loading in seconds of the clock and of work, and what the
    items of its piece are expected to take, where it found out."""

    result: Any
    seconds: float = 0.0
    work: float = 0.0
    expected: Expectation | None = None


@runtime_checkable
class Piece(Protocol):
    """One result in the making. Only the calling process uses these.

    Attributes:
        name: of the run.
        total: samples, or whatever else is counted.
        left: those of them that no item was made of yet.
    """

    @property
    def name(self) -> str: ...

    @property
    def total(self) -> int: ...

    @property
    def left(self) -> int: ...

    def begin(self, account: Account) -> bool:
        """Find out what there is already, and take hold of the rest; False while another process holds it."""

    def next_item(self, size: int) -> Item | None:
        """An item of about so many samples; None where none is to be had now: all have been given out (`left` is 0), or
        an answer has to come first."""

    def keep(self, item: Any, answer: Answer) -> int:
        """Write down an answer, so that it outlives this process; how many samples are broken by it."""

    def finish(self) -> Any:
        """The result, from all answers."""

    def release(self) -> None:
        """Let go of what is held. What was kept stays, unless the result is there."""


def results_of(
    pieces: Sequence[Piece],
    job: Job,
    place: Place,
    *,
    watch: Watch,
    unit: str = "samples",
) -> Iterator[tuple[int, Any]]:
    """The number and the result of each piece, as soon as it is there.

    Args:
        job: what is done with an item; its answer is an `Answer`. What it tells goes to the account.
        unit: what is counted.

    Raises:
        BadInput: a job refused its input.
        RunFailed: after all others are done, with what failed.
    """
    account = Account(watch, unit, [piece.name for piece in pieces], sum(piece.total for piece in pieces))
    work = _Work(pieces, Pace(place.workers), account)
    waited = False
    try:
        while work.waiting:
            workload = Workload(job, work.next_item, account.told, place.begin, place.gpus)
            for outcome in outcomes(workload, place):
                work.hear(outcome)
                yield from work.results()
            yield from work.results()
            if work.waiting:
                if not waited:
                    account.say(f"waiting for another process, which works on {pieces[work.waiting[0]].name}")
                waited = True
                time.sleep(_LOOK_AGAIN)
    finally:
        for index in work.held:
            pieces[index].release()
    require_no_failures([work.failures[index] for index in sorted(work.failures)], of=len(pieces))


@dataclass
class _Work:
    """Which pieces wait, which are being given out, and which are held until their last answer comes."""

    pieces: Sequence[Piece]
    pace: Pace
    account: Account
    waiting: deque[int] = field(init=False)
    open: list[int] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)
    failures: dict[int, RunFailed] = field(default_factory=dict)
    _ready: deque[tuple[int, Any]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.pieces)))

    def results(self) -> Iterator[tuple[int, Any]]:
        while self._ready:
            yield self._ready.popleft()

    def next_item(self) -> Item | None:
        for index in list(self.open):
            if (item := self._item_of(index)) is not None:
                return item
        while (begun := self._begin_next()) is not None:
            if (item := self._item_of(begun)) is not None:
                return item
        return None

    def _item_of(self, index: int) -> Item | None:
        """The next item of an open piece, which is closed where no more will come of it."""
        piece = self.pieces[index]
        if index not in self.failures:
            others = sum(self.pieces[number].left for number in {*self.waiting, *self.open} - {index})
            item = piece.next_item(self.pace.size(index, piece.left, piece.left + others))
            if item is not None:
                self.held[index] += 1
                self.pace.gave(index, len(item))
                return item
            if piece.left:
                return None
        self.open.remove(index)
        self._finish_if_done(index)
        return None

    def hear(self, outcome: Outcome) -> None:
        item, answer, failure = outcome
        self.held[item.piece] -= 1
        self.pace.ended(item.piece, len(item))
        if failure:
            left = 0 if item.piece in self.failures else self.pieces[item.piece].left
            self.failures.setdefault(item.piece, failure)
            self.account.failed(item, left)
        else:
            self.pace.took(item.piece, len(item), answer.work, answer.seconds)
            if answer.expected:
                self.pace.expect(item.piece, answer.expected)
            self.account.finished(item, broken=self.pieces[item.piece].keep(item, answer))
        self._finish_if_done(item.piece)

    def _begin_next(self) -> int | None:
        """Take up the first waiting piece that no other process holds; None where there is none."""
        for index in list(self.waiting):
            if self.pieces[index].begin(self.account):
                self.waiting.remove(index)
                self.open.append(index)
                self.held[index] = 0
                return index
        return None

    def _finish_if_done(self, index: int) -> None:
        if index in self.open or self.held[index]:
            return
        if index not in self.failures:
            self._ready.append((index, self.pieces[index].finish()))
        self.pieces[index].release()
        del self.held[index]
