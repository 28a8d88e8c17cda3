"""Independent jobs: one after the other, on several processes, or on a Ray cluster.

A job cannot tell where it runs, and leaves the same bytes behind everywhere. On a cluster the machines have the package
installed and share the folders that jobs read and write; `IBROBUST_DATA` is set on each.
"""

import errno
import os
import pickle
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from ibrobust.errors import BadInput, RunFailed
from ibrobust.plugins import Plugin, load_the_same, loaded_plugins
from ibrobust.registry import Registry, extension_point

_DIED = "a worker process died, most likely for want of memory; try fewer --workers"

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Job = Callable[[Any], Any]
Waits = Iterator[Callable[[], Any]]
"""For each item, in order, a function that waits for its answer."""
Engine = Callable[[Job, Sequence[Any], int, str | None], Waits]
"""(job, items, workers, address of a cluster) → waits."""

ENGINES: Registry[Engine] = extension_point("engine", Callable)


def answers(job: Callable[[Item], Answer], items: Sequence[Item], options: Namespace) -> Iterator[tuple[Item, Answer]]:
    """Each item with its answer, in order; a job that fails does not keep the others from being done.

    Args:
        job: a function that other processes can import, or a `partial` of one.
        options: `engine`, `workers` and `address`, as the commands parse them.

    Raises:
        BadInput: a job refused its input; or there is no such engine.
        RunFailed: after all others are done, with what failed.
    """
    engine = ENGINES[options.engine]
    failures = []
    for item, wait in zip(items, engine(job, items, options.workers, options.address), strict=True):
        try:
            answer = wait()
        except RunFailed as failure:
            failures.append(str(failure))
            continue
        yield item, answer
    if failures:
        those = "; ".join(failures)
        raise RunFailed(those if len(items) == 1 else f"{len(failures)} of {len(items)} failed: {those}")


def local(job: Job, items: Sequence[Any], workers: int, _address: str | None) -> Waits:
    if workers == 1 or len(items) == 1:
        yield from (partial(job, item) for item in items)
        return
    # Spawned, not forked: a fork copies locks that torch's threads may hold.
    with _pool(min(workers, len(items))) as pool:
        yield from [partial(_result, pool.submit(_done, *_sent(job, item))) for item in items]


def ray_cluster(job: Job, items: Sequence[Any], workers: int, address: str | None) -> Waits:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BadInput(f"engine 'ray' is not installed ({error}): pip install 'ibrobust[ray]'") from error
    ray.init(address=address, num_cpus=None if address else workers, log_to_driver=False)
    try:
        remote = ray.remote(_done)
        yield from [partial(ray.get, remote.remote(*_sent(job, item))) for item in items]
    finally:
        ray.shutdown()


def _sent(job: Job, item: Any) -> tuple[list[Plugin], bytes]:
    """What another process is given: the plugins, and what may be made of their classes."""
    return loaded_plugins(), pickle.dumps((job, item))


def _done(plugins: list[Plugin], work: bytes) -> Any:
    """The answer of a job, in a process that has nothing but the package yet."""
    load_the_same(plugins)
    job, item = pickle.loads(work)
    return job(item)


def _without_bars() -> None:
    """Several processes' progress bars would write over each other."""
    os.environ["TQDM_DISABLE"] = "1"


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = None
    try:
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _without_bars)
        yield pool
    except BrokenProcessPool as error:
        raise RunFailed(_DIED) from error
    except OSError as error:
        # Processes share locks and tensors there, and the system does not say so.
        error.filename = error.filename or ("/dev/shm" if error.errno == errno.ENOSPC else None)
        raise
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise RunFailed(_DIED) from error
