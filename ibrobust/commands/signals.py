"""SIGINT, SIGTERM and SIGHUP end a command with one line, within three seconds, whatever it is doing. Imports little:
a command heeds signals before it has loaded anything else."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_SAID = {int(getattr(signal, name)): word for name, word in _WORDS.items() if hasattr(signal, name)}
_KEPT = "finished work is kept, and the same command goes on from there"

_GRACE = 1.5
"""Seconds that the main thread has to unwind: a library may be in the middle of a long computation, or lose the
exception."""

_caught: list[int] = []
"""The signal that ends this process, once there is one."""
_over = threading.Event()
"""Whether the command has ended by itself."""
_last_words = threading.Lock()
"""Taken by the thread that says why the process ends."""


def run_command(module: str) -> None:
    """Run the command whose `main` a module holds as this process's only purpose, and end the process with its exit
    code."""
    heed_signals()
    with ended_by_signals():
        from ibrobust.commands.command_line import run

        try:
            run(import_module(module).main)
        finally:
            _over.set()


def heed_signals() -> None:
    """From now on, for the whole process, a signal raises KeyboardInterrupt in the main thread once, and 1.5 seconds
    later the process is ended even if that led nowhere. A signal that is ignored, as under `nohup`, stays so."""
    for number in _SAID:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    # Python runs a handler between two steps of the main thread; this socket hears of a signal at once.
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(heard,), daemon=True).start()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """When the block ends, or fails, after a signal, the process is ended: what a signal makes of other processes is
    no failure of theirs."""
    try:
        yield
    finally:
        if _caught:
            _end(_caught[0])


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if _over.is_set():
        _end(number)
    if _caught:
        return
    _caught.append(number)
    # An exception in a library's callback is printed and lost, and one line is enough.
    sys.unraisablehook = lambda _lost: None
    raise KeyboardInterrupt


def _end_late(heard: socket.socket) -> None:
    """Wait for a signal, and end the process a while later."""
    while (number := heard.recv(1)[0]) not in _SAID:
        pass
    time.sleep(_GRACE)
    _end(_caught[0] if _caught else number)


def _end(number: int) -> None:
    """Say why the process ends, and end it with the exit code that a shell gives a signal. Workers end with it."""
    if _last_words.acquire(blocking=False):
        # A terminal that is gone takes no words.
        with suppress(OSError):
            os.write(2, f"{_SAID[number]}: {_KEPT}\n".encode())
        if threading.current_thread() is threading.main_thread() and sys.stdout:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
    os._exit(128 + number)
