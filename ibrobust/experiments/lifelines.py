"""A process that works for another ends when that one does, however that ends, and leaves signals to it."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.connection import wait

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


def serve_parent(parent: int) -> None:
    """Let this process, which is a worker's own, end with its parent, and leave Ctrl-C and a terminal that goes to it:
    they reach the whole group, and the parent ends its workers.

    Args:
        parent: the parent's process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in _ENDING:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _end_with_parent() -> None:
    """Where the system does not tell a process that its parent has died, a pipe does."""
    its_parent = parent_process()
    if its_parent is not None:
        wait([its_parent.sentinel])
        os._exit(1)
