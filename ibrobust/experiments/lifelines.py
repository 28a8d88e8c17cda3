"""A process that works for another ends when that one does, however that ends, and leaves signals to it."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path

_PR_SET_PDEATHSIG = 1
"""What Linux calls the signal that a process is sent when the one that started it dies."""

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def signals_held() -> Iterator[None]:
    """Inside the block the signals that end a command wait; in a process that is started there they wait until it calls
    `serve_parent`, which knows how to end without a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve_parent(parent: int, *, last: Callable[[], None] | None = None) -> None:
    """Let this process, which is a worker's own, end with its parent, and leave Ctrl-C and a terminal that goes to it:
    they reach the whole group, and the parent ends its workers.

    Args:
        parent: the parent's process id.
        last: what this process still has to do when its parent dies; without it, the kernel ends it at once.
    """
    if sys.platform == "linux":
        if last is None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)
    threading.Thread(target=partial(_end_with_parent, last), daemon=True).start()
    for number in _ENDING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def end_rest_of_session(leader: int) -> None:
    """Where there is Linux, end all processes of a session but its leader, until there is no other."""
    while sys.platform == "linux" and (left := [pid for pid in _session(leader) if pid != leader]):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _end_with_parent(last: Callable[[], None] | None) -> None:
    """Where the system does not tell a process that its parent has died, a pipe does."""
    its_parent = parent_process()
    if its_parent is not None:
        wait([its_parent.sentinel])
        try:
            if last:
                last()
        finally:
            os._exit(1)


def _session(leader: int) -> Iterator[int]:
    """The living processes of a session."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):
                # Behind the name, which may hold anything, in brackets: state, parent, group, session.
                state, _, _, session = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:4]
                if int(session) == leader and state not in "ZX":
                    yield int(place.name)
