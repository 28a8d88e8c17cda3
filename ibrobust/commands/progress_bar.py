"""How far the work is, for people: one bar on a terminal, a plain line every half minute where there is none."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ibrobust.errors import one_line
from ibrobust.experiments.progress import Progress, Watch

_EVERY = 30.0
"""Seconds between two plain lines."""

_MOMENT = 0.2
"""Seconds between two changes of the bar."""

_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| [{elapsed}{postfix}]"


@contextmanager
def shown_progress(radius: float | None = None) -> Iterator[Watch]:
    """Inside the block, what is told is shown on stderr.

    Args:
        radius: at which samples are broken; None where none are.
    """
    if "TQDM_DISABLE" in os.environ or sys.stderr is None:
        yield Watch(warn=_warned(_print))
    elif sys.stderr.isatty():
        with _bar(radius) as (tell, say):
            yield Watch(tell, _warned(say), say)
    else:
        yield Watch(_Lines(radius).tell, _warned(_print), _print)


def in_words(progress: Progress, radius: float | None) -> str:
    """What a bar does not show: how fast, how long, how many are broken, and what is being done."""
    parts = [f"{_number(progress.done)} of {progress.total} {progress.unit}"]
    if progress.per_second:
        parts.append(f"{progress.per_second:.3g}/s")
    if progress.seconds_left is not None:
        parts.append(f"{_duration(progress.seconds_left)} left")
    if progress.of and radius is not None:
        parts.append(f"{progress.broken} of {progress.of} broken at {radius:g}")
    return ", ".join([*parts, *([progress.doing] if progress.doing else [])])


def _number(count: float) -> str:
    return str(int(count + 1e-6))


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 7200 else f"{whole / 3600:.1f} h"


def _named(progress: Progress) -> str:
    runs = f" (run {progress.run} of {progress.runs})" if progress.runs > 1 else ""
    return f"{one_line(progress.name)}{runs}"


@contextmanager
def _bar(radius: float | None) -> "Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]":
    """How to show progress on it, and how to say something above it."""
    from tqdm import tqdm

    with tqdm(total=1, bar_format=_BAR) as bar:
        shown = 0.0

        def tell(progress: Progress) -> None:
            nonlocal shown
            if (now := time.monotonic()) - shown < _MOMENT and progress.done < progress.total:
                return
            shown = now
            bar.total, bar.n = max(progress.total, 1), progress.done
            bar.set_description_str(_named(progress), refresh=False)
            bar.set_postfix_str(in_words(progress, radius), refresh=True)

        yield tell, lambda text: tqdm.write(one_line(text), file=sys.stderr)


class _Lines:
    """A line now and then."""

    def __init__(self, radius: float | None) -> None:
        self._radius, self._told = radius, time.monotonic()

    def tell(self, progress: Progress) -> None:
        if (now := time.monotonic()) - self._told >= _EVERY:
            self._told = now
            _print(f"{_named(progress)}: {in_words(progress, self._radius)}")


def _print(text: str) -> None:
    print(one_line(text), file=sys.stderr, flush=True)


def _warned(say: Callable[[str], None]) -> Callable[[str, str], None]:
    return lambda name, text: say(f"warning: {name}: {text}")
