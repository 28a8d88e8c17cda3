"""Jobs for worker processes and Ray's: one that unpickles a job imports this file, which imports no torch."""

import os
import signal
import time
from dataclasses import dataclass
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


@dataclass
class Work:
    """A job that squares a number, and does to its worker or its cluster what the number says, once."""

    folder: Path

    def __call__(self, number: int, _tell) -> int:
        if number == 3 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 0:
            raise RunFailed("no square of nothing")
        if number < 0:
            raise BadInput("positive numbers")
        return number**2


def visible(_item: int, tell) -> str:
    """A job that tells what it is given, and answers with the GPUs that its process sees."""
    tell("begun")
    time.sleep(1.5)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
