"""Jobs for worker processes: a process that unpickles one imports this file, which imports no torch."""

import os
import signal
from pathlib import Path

from ibrobust.errors import BadInput, RunFailed


def reciprocal(number: int) -> float:
    if number == 0:
        raise RunFailed("nothing to divide by")
    if number < 0:
        raise BadInput("positive numbers")
    return 1 / number


def dies_once(place: Path) -> str:
    if not place.exists():
        place.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return place.name


def doubled_or_dead(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def doubled(number: int, _tell) -> int:
    return 2 * number


class LoadedOnce:
    """A job that remembers what it was given in the same process."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, item: int, tell) -> tuple[int, int]:
        self.seen.append(item)
        tell(f"item {item}")
        return os.getpid(), len(self.seen)
