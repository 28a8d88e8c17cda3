"""Jobs in this process, or on several processes of this machine, each with a pipe of its own.

Nothing is shared between workers, no lock and no queue: one that is killed costs the item that it worked on, which is
given to another.
"""

import atexit
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import RLock
from typing import Any

from tqdm import tqdm

from ibrobust.errors import RunFailed
from ibrobust.experiments.jobs import Job, Outcome, Tell, Workload, outcome_here, packed, unpacked
from ibrobust.experiments.lifelines import serve_parent, signals_held

_DIED = "a worker process died, most likely for want of memory; try fewer workers (--workers)"

_TRIES = 2
"""How often an item is tried whose worker dies: memory that is wanting once is wanting again."""

_TOLD, _ANSWERED, _RAISED = "told", "answered", "raised"

_PATIENCE = 5.0
"""Seconds that a worker has to end by itself when there is no work left."""


def local(work: Workload, workers: int, _address: str | None) -> Iterator[Outcome]:
    """An engine: spawned processes as soon as two items are to be had at a time, this process before and otherwise."""
    begun = False
    while (item := work.next_item()) is not None:
        more = work.next_item() if workers > 1 else None
        if more is not None:
            yield from _Crew(work, workers, [item, more]).outcomes()
            return
        if not begun:
            work.begin()
            begun = True
        yield outcome_here(work, item)


@dataclass
class _Worker:
    """A process, this side of its pipe, and what it works on: an item and how often that has been tried."""

    process: BaseProcess
    pipe: Connection
    task: "tuple[Any, int] | None" = None


@dataclass
class _Crew:
    work: Workload
    size: int
    first: list[Any]
    workers: list[_Worker] = field(default_factory=list)
    again: list[tuple[Any, int]] = field(default_factory=list)

    def outcomes(self) -> Iterator[Outcome]:
        """Each as soon as it is there; no worker is left when the generator ends or is closed."""
        sent = packed(self.work)
        # A generator that nobody closes does not keep the interpreter from ending.
        atexit.register(self._stop)
        try:
            while self._busy(sent):
                for pipe in wait([worker.pipe for worker in self.workers if worker.task]):
                    worker = next(worker for worker in self.workers if worker.pipe is pipe)
                    if (outcome := self._heard(worker)) is not None:
                        yield outcome
            for worker in self.workers:
                worker.pipe.close()
            for worker in self.workers:
                worker.process.join(_PATIENCE)
        finally:
            self._stop()

    def _busy(self, sent: bytes) -> bool:
        """Give every worker something to do, as long as there is something; whether anybody works."""
        while sum(1 for worker in self.workers if worker.task) < self.size and (task := self._next_task()):
            worker = next((worker for worker in self.workers if not worker.task), None) or self._started(sent)
            worker.task = task
            with suppress(OSError):  # It has died, which is heard where its answer is waited for.
                worker.pipe.send_bytes(pickle.dumps(task[0]))
        return any(worker.task for worker in self.workers)

    def _next_task(self) -> "tuple[Any, int] | None":
        if self.again:
            return self.again.pop()
        item = self.first.pop(0) if self.first else self.work.next_item()
        return None if item is None else (item, 1)

    def _started(self, sent: bytes) -> _Worker:
        # Spawned, not forked: a fork copies locks that torch's threads may hold.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, os.getpid()))
        try:
            with signals_held():
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        with suppress(OSError):
            ours.send_bytes(sent)
        return worker

    def _heard(self, worker: _Worker) -> Outcome | None:
        """What a worker has to say: an outcome, or None where its item is not finished."""
        assert worker.task
        item = worker.task[0]
        try:
            kind, said = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            return self._buried(worker)
        if kind == _TOLD:
            self.work.told(item, said)
            return None
        worker.task = None
        return outcome_of(item, kind, said)

    def _buried(self, worker: _Worker) -> Outcome | None:
        assert worker.task
        item, tried = worker.task
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        if tried >= _TRIES:
            return Outcome(item, failure=RunFailed(_DIED))
        self.again.append((item, tried + 1))
        return None

    def _stop(self) -> None:
        for worker in self.workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
        self.workers.clear()
        atexit.unregister(self._stop)


class _Elsewhere(Exception):
    """The traceback of another process, shown before this one's."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _serve(pipe: Connection, parent: int) -> None:
    """A worker's life: the job once, then items until the pipe is closed."""
    serve_parent(parent)
    os.environ["TQDM_DISABLE"] = "1"  # One bar for all is drawn by the calling process.
    tqdm.set_lock(RLock())  # The usual one is left behind in the system by a process that is killed, which says so.
    with suppress(EOFError, OSError):
        sent = pipe.recv_bytes()
        while True:
            item = pipe.recv_bytes()
            _say(pipe, *answered(partial(unpacked, sent), item, partial(_say, pipe, _TOLD)))


def answered(job: Callable[[], Job], item: bytes, tell: Tell) -> tuple[str, Any]:
    """What a job, once it is loaded, makes of an item in this process, in a form that can be sent."""
    try:
        return _ANSWERED, job()(pickle.loads(item), tell)
    except Exception as error:
        return _RAISED, (_movable(error), traceback.format_exc())


def outcome_of(item: Any, kind: str, said: Any) -> Outcome:
    """What became of an item in another process, by what `answered` said there.

    Raises:
        Exception: what the job raised, but for `RunFailed`.
    """
    if kind == _ANSWERED:
        return Outcome(item, said)
    error, trace = said
    if isinstance(error, RunFailed):
        return Outcome(item, failure=error)
    error.__cause__ = _Elsewhere(trace)
    raise error


def _movable(error: Exception) -> Exception:
    """The exception, or what it says where it does not survive the journey."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _say(pipe: Connection, kind: str, what: Any) -> None:
    pipe.send_bytes(pickle.dumps((kind, what)))
