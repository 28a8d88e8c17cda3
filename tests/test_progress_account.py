"""How far all work is, over blocks, runs and workers; and how that is said where there is no terminal."""

import io
import sys
from dataclasses import dataclass

import pytest

from ibrobust.commands import progress_bar
from ibrobust.commands.progress_bar import in_words, shown_progress
from ibrobust.experiments.progress import Account, Told, Watch


@dataclass(frozen=True)
class Item:
    piece: int
    key: str
    count: int

    def __len__(self) -> int:
        return self.count


A, B, C = Item(0, "a", 20), Item(0, "b", 40), Item(1, "c", 40)


def account(watch: Watch | None = None) -> Account:
    """Two runs, of 60 and 140 samples; 40 of the second were there."""
    found = Account(watch or Watch(), "samples", ["one", "two"], 200)
    found.there(40, broken=10)
    return found


def test_parts_of_blocks_count_and_time_left_is_over_all_runs():
    work = account()
    work.told(B, Told(0.5, "pgd", broken=4))
    work.finished(A, broken=5)
    work.told(C, Told(0.25, "square"))
    now = work.progress(10.0)
    # 20 are done, half of 40 and a quarter of 40; 40 were there.
    assert (now.done, now.total, now.per_second) == (90, 200, 5.0)
    assert now.seconds_left == (200 - 90) / 5
    # Of C nobody says how many are broken.
    assert (now.broken, now.of) == (10 + 5 + 4, 40 + 20 + 40)
    assert (now.name, now.run, now.runs, now.doing) == ("two", 2, 2, "square")


def test_nothing_is_left_at_the_end():
    work = account()
    for item in (A, B, C, Item(1, "d", 60)):
        work.finished(item, broken=1)
    now = work.progress(4.0)
    assert (now.done, now.total, now.seconds_left, now.broken, now.of) == (200, 200, 0, 14, 200)


def test_nothing_is_foretold_from_the_first_moments():
    work = account()
    for share, left in ((0.019, None), (0.02, 160 / 0.8 - 1)):  # 1 in 200 of the 160 that this call has to do is 0.8.
        work.told(B, Told(share, "clean images"))
        assert work.progress(1.0).seconds_left == (left if left is None else pytest.approx(left))


def test_what_fails_is_not_waited_for():
    work = account()
    work.told(A, Told(0.5, "pgd"))
    work.failed(A, left=40)
    work.finished(C, broken=0)
    now = work.progress(1.0)
    assert (now.done, now.total) == (80, 140)


def test_words():
    work = account()
    work.told(B, Told(0.5, "pgd", broken=4))
    said = in_words(work.progress(10.0), 0.1)
    assert said == "60 of 200 samples, 2/s, 70 s left, 14 of 80 broken at 0.1, pgd"
    assert "broken" not in in_words(work.progress(10.0), None)


def test_without_a_terminal_a_plain_line_now_and_then(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    clock = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: clock[0])
    with shown_progress(0.1) as watch:
        work = account(watch)
        for clock[0] in (1.0, 29.0, 31.0, 45.0, 62.0):
            work.told(B, Told(0.5, "pgd", broken=4))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2, "at 31 and 62 seconds"
    assert lines[0].startswith("one (run 1 of 2): 60 of 200 samples, ")
    assert lines[0].endswith(" left, 14 of 80 broken at 0.1, pgd")


@pytest.mark.parametrize("disabled", [True, False])
def test_nothing_is_said_in_less_than_half_a_minute_or_where_bars_are_off(monkeypatch, disabled):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress_bar, "_EVERY", -1.0 if disabled else 30.0)
    if disabled:
        monkeypatch.setenv("TQDM_DISABLE", "1")
    with shown_progress(0.1) as watch:
        account(watch).finished(A, broken=0)
    assert stream.getvalue() == ""


def test_warnings_are_said_at_once(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown_progress(0.1) as watch:
        watch.warn("mine", "two\nlines")
    assert stream.getvalue() == "warning: mine: two\\nlines\n"
