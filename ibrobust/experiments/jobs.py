"""What jobs are and how their answers come back, wherever they run: in this process, on several, or on a Ray cluster.

A job cannot tell where it runs, and its answer is the same everywhere. Its answer goes to the calling process; it is
that one which writes results.
"""

import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from ibrobust.errors import RunFailed
from ibrobust.plugins import load_the_same, loaded_plugins
from ibrobust.registry import Registry, extension_point

Tell = Callable[[Any], None]
"""Called by a job while it works, with something small that the calling process is told."""

Job = Callable[[Any, Tell], Any]
"""(item, tell) → answer: a function that other processes can import, a `partial` of one, or a record that is called. It
is sent to each worker once, so what it loads and keeps is loaded once for each worker."""


def nothing() -> None:
    """What is done before a process's first job, where nothing has to be."""


class Outcome(NamedTuple):
    """What became of one item: its answer, or why there is none."""

    item: Any
    answer: Any = None
    failure: RunFailed | None = None


@dataclass(frozen=True)
class Workload:
    """What is to be done.

    Attributes:
        job: what is done with each item.
        next_item: called for an item whenever a worker has none; None where there is none to be had before another
            answer has come. The work is over when there is none and no answer is awaited.
        told: called in the calling process, with an item and what its job tells.
        begin: called once in each process that works, before its first job.
        gpus: how many GPUs a job needs to itself, or which share of one, where an engine hands them out.
    """

    job: Job
    next_item: Callable[[], Any]
    told: Callable[[Any, Any], None] = lambda _item, _message: None
    begin: Callable[[], None] = nothing
    gpus: float = 0.0


Engine = Callable[[Workload, int, str | None], Iterator[Outcome]]
"""(workload, workers, address of a cluster) → outcomes, each as soon as it is there.

It raises what a job raises, other than `RunFailed`, and then stops the others. When the iterator is closed, nothing of
it goes on working.
"""

ENGINES: Registry[Engine] = extension_point("engine", Callable)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Place:
    """Where jobs run.

    Attributes:
        engine: its name.
        workers: how many jobs run at a time.
        address: of a cluster.
        begin, gpus: as in a `Workload`.
    """

    engine: str = "local"
    workers: int = 1
    address: str | None = None
    begin: Callable[[], None] = nothing
    gpus: float = 0.0


HERE = Place()


def outcomes(work: Workload, place: Place) -> Iterator[Outcome]:
    """What becomes of each item, as soon as it is known.

    Raises:
        BadInput: a job refused its input; or there is no such engine.
    """
    found = ENGINES[place.engine](work, place.workers, place.address)
    try:
        yield from found
    finally:
        if isinstance(found, Generator):
            found.close()


def answers(job: Callable[[Item], Answer], items: Sequence[Item], place: Place) -> Iterator[tuple[Item, Answer]]:
    """Each item with its answer, in order; a job that fails does not keep the others from being done.

    Args:
        job: a function that other processes can import, or a `partial` of one.

    Raises:
        BadInput: a job refused its input; or there is no such engine.
        RunFailed: after all others are done, with what failed.
    """
    left = iter(enumerate(items))
    work = Workload(_Numbered(job), lambda: next(left, None), begin=place.begin, gpus=place.gpus)
    failures: dict[int, RunFailed] = {}
    waiting: dict[int, tuple[Item, Answer]] = {}
    following = 0
    for (index, item), answer, failure in outcomes(work, place):
        if failure:
            failures[index] = failure
        else:
            waiting[index] = item, answer
        while following in waiting or following in failures:
            if following in waiting:
                yield waiting.pop(following)
            following += 1
    require_no_failures([failures[index] for index in sorted(failures)], of=len(items))


def require_no_failures(failures: Sequence[RunFailed], *, of: int) -> None:
    """Raises:
    RunFailed: there are failures; with all of them.
    """
    if failures:
        those = "; ".join(map(str, failures))
        raise RunFailed(those if of == 1 else f"{len(failures)} of {of} failed: {those}")


def outcome_here(work: Workload, item: Any) -> Outcome:
    """What becomes of an item in this process."""
    try:
        return Outcome(item, work.job(item, lambda message: work.told(item, message)))
    except RunFailed as failure:
        return Outcome(item, failure=failure)


def packed(work: Workload) -> bytes:
    """What another process is given once: the plugins, and what may be made of their classes."""
    return pickle.dumps((loaded_plugins(), pickle.dumps((work.job, work.begin))))


@lru_cache(maxsize=1)
def unpacked(sent: bytes) -> Job:
    """The job, in a process that has nothing but the package yet, ready to begin; the same one each time.

    Raises:
        BadInput: a plugin is not the same here.
    """
    plugins, rest = pickle.loads(sent)
    load_the_same(plugins)
    job, begin = pickle.loads(rest)
    begin()
    return job  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Numbered:
    """A job that is told nothing of its item's number, and tells nothing."""

    job: Callable[[Any], Any]

    def __call__(self, item: tuple[int, Any], _tell: Tell) -> Any:
        return self.job(item[1])
