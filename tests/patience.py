"""A command that works until it is ended: `python -m tests.patience WORKERS HOW` prints "ready" once every worker is in
the middle of something."""

import time
from collections.abc import Sequence
from contextlib import suppress

from ibrobust.experiments.jobs import Place, Workload, outcomes


def main(arguments: Sequence[str]) -> None:
    workers, how = int(arguments[0]), arguments[1]
    items = iter(range(workers))
    ready: list[int] = []

    def told(_item: int, _message: str) -> None:
        ready.append(1)
        if len(ready) == workers:
            print("ready", flush=True)

    list(
        outcomes(
            Workload({"works": works, "loses": loses}[how], lambda: next(items, None), told), Place("local", workers)
        )
    )


def works(_item: int, tell) -> None:
    tell("begun")
    time.sleep(100)


def loses(item: int, tell) -> None:
    """As a library whose callback takes every exception."""
    tell("begun")
    while True:
        with suppress(BaseException):
            time.sleep(100)


if __name__ == "__main__":
    from ibrobust.commands.signals import run_command

    run_command("tests.patience")
