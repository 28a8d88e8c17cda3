"""A worker of a Ray cluster: the job once, then items."""

import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from ibrobust.experiments.jobs import Job
from ibrobust.experiments.processes import answered
from ibrobust.experiments.shipping import unloaded

_loaded: dict[str, Job] = {}
"""The job of this process, by what it was sent as."""


def answer(key: str, sent: list[Any], item: bytes, tell: Callable[[bytes], None]) -> bytes:
    """What the job answers or raises, in bytes.

    Args:
        key: tells apart what was sent.
        sent: the reference to it, which is fetched once.
        tell: given what the job tells, in bytes.
    """
    os.environ["TQDM_DISABLE"] = "1"  # One bar for all is drawn by the calling process.
    return pickle.dumps(answered(partial(_job, key, sent), item, lambda message: tell(pickle.dumps(message))))


def _job(key: str, sent: list[Any]) -> Job:
    if key not in _loaded:
        import ray

        _loaded.clear()
        _loaded[key] = unloaded(ray.get(sent[0]))
    return _loaded[key]
